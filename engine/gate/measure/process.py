"""The gate's end of `worker.py`: start a process of an arm, let it speak, record what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
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
from engine.gate.data.samples import Arm, Call, Observed, Process, Series, Side, Work
from engine.gate.data.workloads import Clip, Sentence, pinned
from engine.gate.measure import worker

TIMEOUT_SECONDS = 1200.0
"""A process that is silent for longer hangs."""
IDLE_THREADS_SLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Variables of GNU's and LLVM's OpenMP. A thread that spins while it waits takes a core from the process
whose turn it is."""
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
    `through` is `http` where each revision's own service is asked.
    """

    name: str
    checkpoint: str
    clip: Path
    clip_text: str
    device: str | None = None
    voices: Mapping[str, Reference] = dataclasses.field(default_factory=dict)
    languages: tuple[str, ...] = ()
    trained: bool = True
    through: str | None = None

    @property
    def identity(self) -> Clip:
        """The clip as workloads pin it."""
        return Clip.of(self.clip.name, self.clip.read_bytes(), self.clip_text)


class Instrument(Protocol):
    """One running process of one arm."""

    @property
    def described(self) -> Mapping[str, Any]:
        """What was loaded, with which versions and threads; waits until it is."""
        ...

    def call(self, sentence: Sentence, voice: Reference | None = None, seed: int | None = None) -> Call:
        """Speak once, in another voice than the material's or with another seed than the sentence's if
        given."""
        ...

    def count(self, sentence: Sentence) -> Work:
        """Speak once, untimed, and count what it takes. What the process observed before is what it tells."""
        ...

    def finish(self) -> Mapping[str, Any]:
        """End the process; what it observed, its first call's seconds, and its peaks of memory."""
        ...


Opener = Callable[[Arm], contextlib.AbstractContextManager[Instrument]]


class Worker:
    """A subprocess that runs `worker.py`. Made by `opener`, and loading from then on."""

    def __init__(
        self, arm: Arm, target: Target, process: subprocess.Popen[str], log: Path, timeout: float
    ) -> None:
        self._arm, self._target, self._process, self._log = arm, target, process, log
        self._timeout = timeout
        self._described: Mapping[str, Any] | None = None

    def start(self, job: Mapping[str, Any]) -> None:
        """Tell it what to load, and do not wait for it: several processes may load at once."""
        self._send(job)

    @property
    def described(self) -> Mapping[str, Any]:
        """What was loaded. Raises `UsageError` if the arm is broken or another `engine` answered."""
        return self._loaded()

    def _loaded(self) -> Mapping[str, Any]:
        """Wait for the first reply, which describes what was loaded."""
        if self._described is None:
            described = self._reply()
            if Path(described["root"]).resolve() != self._target.root.resolve():
                raise UsageError(
                    f"the {self._arm} ran the engine in {described['root']}",
                    f"the one in {self._target.root}",
                    "Uninstall the other one, or leave its folder",
                )
            self._described = described
        return self._described

    def call(self, sentence: Sentence, voice: Reference | None = None, seed: int | None = None) -> Call:
        """Speak once, in another voice than the material's or with another seed than the sentence's if
        given."""
        request = self._request(sentence, seed)
        if voice is not None:
            request |= {"clip": str(voice.clip), "clip_text": voice.text}
        answer = self._ask(request)
        try:
            return Call(**answer, seed=request["seed"], place=0)
        except ValueError as error:
            raise self._refused(sentence, error, "a call with audio, time and memory above zero") from error

    def count(self, sentence: Sentence) -> Work:
        """Speak once, untimed, and count what it takes. What the process observed before is what it tells."""
        answer = self._ask(self._request(sentence, None) | {"count": True})
        try:
            return Work(**answer)
        except ValueError as error:
            raise self._refused(sentence, error, "counts of work") from error

    def finish(self) -> Mapping[str, Any]:
        """End the process; what it observed, its first call's seconds, and its peaks of memory."""
        self._loaded()
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._reply()

    @staticmethod
    def _request(sentence: Sentence, seed: int | None) -> dict[str, Any]:
        own = sentence.seed if seed is None else seed
        return {"text": sentence.text, "seed": own, "speed": sentence.speed}

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._loaded()
        self._send(request)
        return self._reply()

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: the missing reply tells, with its last words
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _reply(self) -> dict[str, Any]:
        """Its next reply. A process that is silent for too long is killed, which ends the wait."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(self._timeout, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise self._broken()
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _refused(self, sentence: Sentence, error: ValueError, expected: str) -> UsageError:
        return UsageError(
            f"the {self._arm} answered {sentence.name!r} with {reason(error)}",
            expected,
            f"Repair the {self._arm}, or compare with another",
        )

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
        timeout: seconds of silence after which a process is taken to hang.
    """
    inherited = os.environ if environment is None else environment
    with tempfile.TemporaryDirectory(prefix="ishowtts-gate-") as scratch:
        script = Path(shutil.copy(str(worker.__file__), scratch))
        numbers = itertools.count()

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
                "through": material.through,
            }
            own = {"PYTHONPATH": str(target.root), "PYTHONUNBUFFERED": "1"}
            log = script.with_name(f"stderr-{next(numbers)}.log")
            with _process(script, {**inherited, **IDLE_THREADS_SLEEP, **own}, log) as process:
                handle = Worker(arm, target, process, log, timeout)
                handle.start(job)
                yield handle

        yield open_worker


@contextlib.contextmanager
def _process(script: Path, environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """The worker, running; on the way out it has a moment to end, and none after an error."""
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
    try:
        yield process
    except BaseException:
        process.kill()
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def process(
    arm: Arm, block: int, twin: int, spoken: Sequence[Series], handle: Instrument, end: Mapping[str, Any]
) -> Process:
    """The record of one process, from what its worker said first and last."""
    proofs = {
        name: Observed(proven=proven, observed=seen) for name, (proven, seen) in end["evidence"].items()
    }
    return Process(
        arm=arm,
        block=block,
        twin=twin,
        load_seconds=handle.described["load_seconds"],
        first_call_seconds=end["first_call_seconds"],
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
        threads=described["threads"],
        workloads=pinned(material.identity, described["weights"], names),
    )
