"""Where one `synthesize` spends its time: stages, operators, FLOPs and memory, each from a call of its own.

A profiler slows what it watches, and a FLOP counter does so even more: the seconds come from calls that
nobody watched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from engine.advisor.architecture import Architecture, Sequence
from engine.advisor.costs import work
from engine.errors import UsageError
from engine.evidence import Clock
from engine.gate import machine as machines
from engine.optimizations import buckets
from engine.requests import Request

if TYPE_CHECKING:
    from engine.audio import Audio
    from engine.checkpoint import Checkpoint
    from engine.reference import Voice
    from engine.synthesis import Engine

COUNTER, FORMULA = "torch.utils.flop_counter", "engine.advisor.costs"
"""Who counted the FLOPs of a profile."""

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
        frames: of the transformer's sequences, reference and padding included, summed over pieces.
        audio_seconds: what the call said.
        seconds, rtf: of the median of the unwatched rounds.
        stages: seconds of that round by stage; they add up to `seconds`.
        operators: of one profiled round, those with the most time of their own first.
        flops: of one call: products and convolutions, two for each multiplication with its addition.
        peak_mb: the most memory in the memory's round: of this process on a CPU, of the tensors on a GPU.
        memory: (seconds since that round's start, MiB).
        flops_by: `COUNTER`, or `FORMULA` where products run inside what the counter cannot see.
    """

    checkpoint: str
    options: str
    machine: str
    text: str
    frames: int
    audio_seconds: float
    seconds: float
    rtf: float
    stages: Mapping[str, float]
    operators: tuple[Operator, ...]
    flops: float
    peak_mb: float
    memory: tuple[tuple[float, float], ...]
    flops_by: str = COUNTER


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
    pieces = sequences(engine, text, voice)
    flops, by = _flops(engine, speak, pieces)
    return Profile(
        checkpoint=engine.checkpoint.name,
        options=str(engine.options),
        machine=machines.describe().key,
        text=text,
        frames=sum(piece.frames for piece in pieces),
        audio_seconds=steady.seconds,
        seconds=steady.timings.total,
        rtf=steady.rtf,
        stages=steady.timings.stages(),
        operators=operators,
        flops=flops,
        peak_mb=max(mb for _, mb in memory),
        memory=memory,
        flops_by=by,
    )


def median_round(rounds: list[Audio]) -> Audio:
    """The round with the median time, the faster of the two middle ones: its stages belong together."""
    return sorted(rounds, key=lambda audio: audio.timings.total)[(len(rounds) - 1) // 2]


def sequences(engine: Engine, text: str, voice: Voice | None = None) -> list[Sequence]:
    """What each piece of `text` sends through the transformer and the vocoder; nothing is sampled.

    Raises:
        EngineError: as `synthesize`, for what the request is to blame for.
    """
    pieces = engine._plan(Request(text, voice), Clock(engine.device)).pieces
    padded = buckets.length if engine.options.buckets else int
    return [
        Sequence(padded(one.frames), one.reference.frames, one.frames - one.reference.frames)
        for one in pieces
    ]


def architecture(checkpoint: Checkpoint) -> Architecture:
    """The sizes that decide what a checkpoint costs.

    Raises:
        UsageError: its backbone is not a DiT.
    """
    import yaml

    if checkpoint.backbone != "DiT":
        raise UsageError(
            f"checkpoint {checkpoint.name} with the backbone {checkpoint.backbone}",
            "an F5-TTS checkpoint: the formulas are those of its DiT",
            "Load another checkpoint",
        )
    vocoder = yaml.safe_load((checkpoint.vocoder / "config.yaml").read_text(encoding="utf8"))
    return Architecture.of(checkpoint.arch, vocoder)


def count_flops(speak: Callable[[], Any]) -> float:
    """FLOPs of one call, with what torch's counter leaves out on a CPU: attention and 8-bit products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def product(codes: Any, *_: Any, out_shape: Any, **__: Any) -> int:
        return int(2 * math.prod(out_shape) * codes[-1])

    def attended(queries: Any, keys: Any, *_: Any, **__: Any) -> int:
        return int(4 * math.prod(queries) * keys[-2])

    formulas = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attended,
        torch.ops.onednn.qlinear_pointwise: product,
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        speak()
    return float(counter.get_total_flops())


def _flops(engine: Engine, speak: Callable[[], Any], pieces: list[Sequence]) -> tuple[float, str]:
    """FLOPs and who counted them: compiled graphs and ONNX Runtime hide their products from the counter."""
    if engine.options.compile == "off" and engine.options.vocoder_backend == "torch":
        return count_flops(speak), COUNTER
    return work(architecture(engine.checkpoint), pieces, engine.options).flops, FORMULA


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
