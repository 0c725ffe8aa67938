"""Where one `synthesize` spends its time: stages, operators and memory, each from a call of its own.

A profiler slows what it watches: the seconds come from calls that nobody watched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError
from engine.gate import machine as machines

if TYPE_CHECKING:
    from engine.audio import Audio
    from engine.reference import Voice
    from engine.synthesis import Engine

MEMORY_EVERY_S = 0.005


@dataclasses.dataclass(frozen=True)
class Operator:
    """What the profiler saw of one operator (on a GPU: one kernel) in a whole call.

    Attributes:
        name: as the dispatcher, or the GPU, calls it.
        seconds: of its own, without the operators that it calls.
        calls: how often it ran.
        share: of the own time of all operators.
    """

    name: str
    seconds: float
    calls: int
    share: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """One text on one engine.

    Attributes:
        checkpoint, options, machine, text: what was profiled, and where.
        audio_seconds: what the call said.
        seconds, rtf: of the median of the unwatched rounds.
        stages: seconds of that round by stage; they add up to `seconds`.
        operators: of one profiled round, those with the most time of their own first.
        peak_mb: the most memory in the memory's round: of this process on a CPU, of the tensors on a GPU.
        memory: (seconds since that round's start, MiB).
    """

    checkpoint: str
    options: str
    machine: str
    text: str
    audio_seconds: float
    seconds: float
    rtf: float
    stages: dict[str, float]
    operators: tuple[Operator, ...]
    peak_mb: float
    memory: tuple[tuple[float, float], ...] = ()


def profile(
    engine: Engine, text: str, *, voice: Voice | None = None, seed: int = 7, rounds: int = 3
) -> Profile:
    """Profile `engine.synthesize(text)`; one more call comes first and is not counted.

    Args:
        engine: a loaded one; it stays open.
        text, voice, seed: as for `synthesize`.
        rounds: calls that nobody watches; the times are those of the median one.

    Raises:
        UsageError: no rounds.
        EngineError: as `synthesize`.
    """
    if rounds < 1:
        raise UsageError(f"rounds={rounds}", "1 or more", "Pass rounds=3")

    def speak() -> Audio:
        return engine.synthesize(text, voice, seed=seed)

    speak()
    steady = median_round([speak() for _ in range(rounds)])
    memory = _memory(speak, engine.device)
    operators = _operators(speak, engine.device)
    return Profile(
        checkpoint=engine.checkpoint.name,
        options=str(engine.options),
        machine=machines.describe().key,
        text=text,
        audio_seconds=steady.seconds,
        seconds=steady.timings.total,
        rtf=steady.rtf,
        stages={name: max(0.0, seconds) for name, seconds in steady.timings.stages().items()},
        operators=operators,
        peak_mb=max(mb for _, mb in memory),
        memory=memory,
    )


def median_round(rounds: list[Audio]) -> Audio:
    """The round with the median time, the faster of the two middle ones: its stages belong together."""
    return sorted(rounds, key=lambda audio: audio.timings.total)[(len(rounds) - 1) // 2]


def _operators(speak: Callable[[], Any], device: str) -> tuple[Operator, ...]:
    """One call under torch's profiler: operators by their own time, on a GPU its kernels."""
    from torch._C._autograd import DeviceType
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watching

    gpu = device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with watching(activities=activities) as watched:
        speak()
    side = DeviceType.CUDA if gpu else DeviceType.CPU
    rows = [row for row in watched.key_averages() if row.device_type == side]
    return ranked(
        (row.key, (row.self_device_time_total if gpu else row.self_cpu_time_total) / 1e6, row.count)
        for row in rows
    )


def ranked(rows: Iterable[tuple[str, float, int]]) -> tuple[Operator, ...]:
    """Operators from (name, own seconds, calls): those with the most time first, those with none left out."""
    kept = sorted((row for row in rows if row[1] > 0), key=lambda row: (-row[1], row[0]))
    whole = sum(seconds for _, seconds, _ in kept)
    return tuple(Operator(name, seconds, calls, seconds / whole) for name, seconds, calls in kept)


def _memory(speak: Callable[[], Any], device: str) -> tuple[tuple[float, float], ...]:
    """(seconds since the start, MiB) of one call: the process's resident memory, or the GPU's tensors."""
    read = machines.device_memory_mb if device.startswith("cuda") else machines.host_memory_mb
    with sampled(read) as found:
        speak()
    return tuple(found)


@contextlib.contextmanager
def sampled(read: Callable[[], float], every: float = MEMORY_EVERY_S) -> Iterator[list[tuple[float, float]]]:
    """Call `read` in a thread of its own, at the start, every so many seconds, and at the end.

    The list of (seconds since the start, reading) grows meanwhile and is complete on leaving.
    """
    found: list[tuple[float, float]] = []
    start, done = time.perf_counter(), threading.Event()

    def look() -> None:
        found.append((time.perf_counter() - start, read()))

    def watch() -> None:
        while not done.wait(every):
            look()

    look()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        look()
