"""The gate's end of `worker.py`: start a process of an arm, let it speak, record what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from engine.errors import UsageError
from engine.gate.data.files import reason
from engine.gate.data.samples import Arm, Call, Observed, Process, Series, Side
from engine.gate.data.workloads import Clip, Sentence, pinned
from engine.gate.measure import worker
from engine.gate.stats.calls import detect_warmup

TIMEOUT_SECONDS = 1200.0
"""A process that takes longer hangs."""
LAST_LINES = 6


@dataclasses.dataclass(frozen=True)
class Target:
    """One arm before it runs: a checkout that holds an `engine`, its revision, and toggles in words."""

    root: Path
    revision: str
    dirty: bool
    options: str


class Reference(NamedTuple):
    """A clip of a voice, and what it says."""

    clip: Path
    text: str


@dataclasses.dataclass(frozen=True)
class Material:
    """What both arms are given: a checkpoint (its name, and what to load), a clip, its words, a device.

    `voices` are all the clips that the checkpoint brings, and `languages` what it speaks (none: unknown).
    """

    name: str
    checkpoint: str
    clip: Path
    clip_text: str
    device: str | None = None
    voices: Mapping[str, Reference] = dataclasses.field(default_factory=dict)
    languages: tuple[str, ...] = ()
    trained: bool = True

    @property
    def identity(self) -> Clip:
        """The clip as workloads pin it."""
        return Clip.of(self.clip.name, self.clip.read_bytes(), self.clip_text)


class Instrument(Protocol):
    """One running process of one arm."""

    described: Mapping[str, Any]

    def call(self, sentence: Sentence, voice: Reference | None = None) -> Call:
        """Speak once, in another voice than the material's if given."""
        ...

    def finish(self) -> Mapping[str, Any]:
        """End the process; what it observed, and its peaks of memory."""
        ...


Opener = Callable[[Arm], contextlib.AbstractContextManager[Instrument]]


class Worker:
    """A subprocess that runs `worker.py`. Made by `opener`."""

    def __init__(self, arm: Arm, target: Target, process: subprocess.Popen[str], log: Path) -> None:
        self._arm, self._target, self._process, self._log = arm, target, process, log
        self.described: Mapping[str, Any] = {}

    def start(self, job: Mapping[str, Any]) -> None:
        """Load; raises `UsageError` if the arm is broken or another `engine` answered."""
        self.described = self._ask(job)
        if Path(self.described["root"]).resolve() != self._target.root.resolve():
            raise UsageError(
                f"the {self._arm} ran the engine in {self.described['root']}",
                f"the one in {self._target.root}",
                "Uninstall the other one, or leave its folder",
            )

    def call(self, sentence: Sentence, voice: Reference | None = None) -> Call:
        """Speak once, in another voice than the material's if given."""
        request: dict[str, Any] = {"text": sentence.text, "seed": sentence.seed, "speed": sentence.speed}
        if voice is not None:
            request |= {"clip": str(voice.clip), "clip_text": voice.text}
        answer = self._ask(request)
        try:
            return Call(**answer)
        except ValueError as error:
            raise UsageError(
                f"the {self._arm} answered {sentence.name!r} with {reason(error)}",
                "a call with audio, time and memory above zero",
                f"Repair the {self._arm}, or compare with another",
            ) from error

    def finish(self) -> Mapping[str, Any]:
        """End the process; what it observed, and its peaks of memory."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._reply()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(
            BrokenPipeError
        ):  # it has died: the missing reply says so, with its last words
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._broken()
        found: dict[str, Any] = json.loads(line)
        return found

    def _broken(self) -> UsageError:
        code = self._process.wait()
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = "\n  ".join(lines[-LAST_LINES:]) or "no message"
        killed = " (killed: it hung, or memory ran out)" if code == -signal.SIGKILL else ""
        name = f"{self._target.revision[:10]}{'+' if self._target.dirty else ''}, {self._target.options}"
        return UsageError(
            f"the {self._arm} ({name}) ended with code {code}{killed}:\n  {last}\n",
            f"a {self._arm} that loads and speaks",
            f"Repair the {self._arm}, or compare with another",
        )


@contextlib.contextmanager
def opener(
    targets: Mapping[Arm, Target],
    material: Material,
    *,
    outputs: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> Iterator[Opener]:
    """Gives what opens a process of an arm. Both arms run one copy of this checkout's worker.

    Args:
        targets: the two arms.
        material: what both are given.
        outputs: a folder for every distinct wave that was timed, as `<sha256>.f32`; none are kept without it.
        environment: of the processes; this one's if not given.
        timeout: seconds after which a process is taken to hang.
    """
    inherited = os.environ if environment is None else environment
    with tempfile.TemporaryDirectory(prefix="ishowtts-gate-") as scratch:
        # A script's folder comes first, and the `statistics.py` beside the worker would hide Python's own.
        script = Path(shutil.copy(str(worker.__file__), scratch))
        log = Path(scratch) / "stderr.log"

        @contextlib.contextmanager
        def open_worker(arm: Arm) -> Iterator[Worker]:
            target = targets[arm]
            job = {
                "checkpoint": material.checkpoint,
                "options": target.options,
                "device": material.device,
                "clip": str(material.clip),
                "clip_text": material.clip_text,
                "outputs": None if outputs is None else str(outputs),
            }
            variables = {**inherited, "PYTHONPATH": str(target.root), "PYTHONUNBUFFERED": "1"}
            with _process(script, variables, log, timeout) as process:
                handle = Worker(arm, target, process, log)
                handle.start(job)
                yield handle

        yield open_worker


@contextlib.contextmanager
def _process(
    script: Path, environment: Mapping[str, str], log: Path, timeout: float
) -> Iterator[subprocess.Popen[str]]:
    """The worker, running; killed on the way out if it still runs."""
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=script.parent,
            text=True,
        )
    watchdog = threading.Timer(timeout, process.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if process.poll() is None:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def series(workload: str, calls: Sequence[Call], compiled: bool) -> Series:
    """One workload in one process: warm-up is found in the times and stands apart."""
    warm = detect_warmup([call.seconds for call in calls]) if len(calls) > 1 else 0
    steady = sorted(call.seconds for call in calls[warm:])[len(calls[warm:]) // 2]
    extra = sum(call.seconds - steady for call in calls[:warm])
    return Series(
        workload=workload,
        warmup=tuple(calls[:warm]),
        calls=tuple(calls[warm:]),
        compile_seconds=max(0.0, extra) if compiled else 0.0,
    )


def process(
    arm: Arm, block: int, position: int, spoken: Sequence[Series], handle: Instrument, end: Mapping[str, Any]
) -> Process:
    """The record of one process, from what its worker said first and last."""
    proofs = {
        name: Observed(proven=proven, observed=seen) for name, (proven, seen) in end["evidence"].items()
    }
    return Process(
        arm=arm,
        block=block,
        position=position,
        load_seconds=handle.described["load_seconds"],
        series=tuple(spoken),
        evidence=proofs,
        peak_host_mb=end["peak_host_mb"],
        peak_device_mb=end["peak_device_mb"],
    )


def side(target: Target, material: Material, described: Mapping[str, Any], names: Sequence[str]) -> Side:
    """What one arm is, as one of its processes described it."""
    return Side(
        revision=target.revision,
        dirty=target.dirty,
        options=described["options"],
        checkpoint=material.name,
        trained=described["trained"],
        versions=described["versions"],
        workloads=pinned(material.identity, described["weights"], names),
    )
