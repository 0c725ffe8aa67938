"""What was timed: each request (workload and seed) with all that the processes of an arm answered.

Every process of a run speaks the same requests, and no process speaks one twice. So the answers of an arm to
one request are the same bytes whoever gives them, those to different requests differ, and base and candidate
can be compared request by request without speaking anything again.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.audio import Samples
from engine.gate.data.outputs import Stray, TimedChange, Trouble
from engine.gate.data.samples import Arm, Call, Process
from engine.gate.data.workloads import Sentence
from engine.gate.quality.judges import distances
from engine.gate.quality.judges.distance import WINDOW

Request = tuple[str, int]
"""Workload and seed."""


@dataclasses.dataclass(frozen=True)
class Timed:
    """What was timed: the calls of each arm by request, the requests that are judged (as sentences with names
    of their own), and the folder with the waves."""

    calls: Mapping[Arm, Mapping[Request, tuple[Call, ...]]]
    judged: tuple[tuple[Request, Sentence], ...]
    folder: Path


def answers(processes: Iterable[Process], arm: Arm) -> dict[Request, tuple[Call, ...]]:
    """All calls of one arm by request, in the order of the record, warm-up included."""
    calls: dict[Request, list[Call]] = {}
    for process in processes:
        if process.arm == arm:
            for series in process.series:
                for call in (*series.warmup, *series.calls):
                    calls.setdefault((series.workload, call.seed), []).append(call)
    return {request: tuple(given) for request, given in calls.items()}


def outputs(calls: Sequence[Call]) -> tuple[str, ...]:
    """The distinct outputs of some calls, the first one first."""
    return tuple(dict.fromkeys(call.output for call in calls))


def asked_twice(processes: Iterable[Process], arm: Arm) -> list[Request]:
    """The requests that a process of this arm was asked more than once, which it might have remembered."""
    repeated: dict[Request, None] = {}
    for process in processes:
        asked = [
            (series.workload, call.seed)
            for series in process.series
            for call in (*series.warmup, *series.calls)
        ]
        if process.arm == arm:
            repeated |= {request: None for request, times in Counter(asked).items() if times > 1}
    return list(repeated)


def to_judge(
    given: Mapping[Arm, Mapping[Request, Sequence[Call]]], folder: Path
) -> dict[str, tuple[Request, ...]]:
    """By workload the first and the last request that both arms were timed with and whose waves were kept."""
    requests: dict[str, list[Request]] = {}
    for request in given["base"]:
        arms = [calls[request][0].output for calls in given.values() if request in calls]
        if len(arms) == len(given) and all(path(folder, output).is_file() for output in arms):
            requests.setdefault(request[0], []).append(request)
    return {name: tuple(dict.fromkeys((known[0], known[-1]))) for name, known in requests.items()}


def strays(given: Mapping[Request, Sequence[Call]], folder: Path) -> Iterator[Stray]:
    """Answers of one arm with other bytes than the first one to the same request, where they were kept."""
    for (workload, seed), calls in sorted(given.items()):
        expected, *others = outputs(calls)
        for output in others:
            if path(folder, output).is_file():
                far = mel_l2(wave(folder, expected), wave(folder, output))
                yield Stray(
                    name=workload, kind="timed", seed=seed, output=output, expected=expected, mel_l2=far
                )


def changes(given: Mapping[Arm, Mapping[Request, Sequence[Call]]], folder: Path) -> Iterator[TimedChange]:
    """Every request of both arms whose first answers have other bytes in the candidate than in the base."""
    for request, calls in given["base"].items():
        others = given["candidate"].get(request)
        if others is None or others[0].output == calls[0].output:
            continue
        workload, seed = request
        waves = wave(folder, calls[0].output), wave(folder, others[0].output)
        trouble = _trouble(*waves)
        if trouble == "not kept" and calls[0].audio_seconds != others[0].audio_seconds:
            trouble = "another length"
        far = None if trouble else distances(*waves).mel_l2
        yield TimedChange(workload=workload, seed=seed, mel_l2=far, trouble=trouble)


def _trouble(base: Samples, candidate: Samples) -> Trouble | None:
    """Why two waves [n], [m] have no distance; None if they have."""
    if not len(base) or not len(candidate):
        return "not kept"
    if not np.isfinite(base).all():
        return "base not finite"
    if not np.isfinite(candidate).all():
        return "candidate not finite"
    if len(base) != len(candidate):
        return "another length"
    return "too short" if len(base) < WINDOW else None


def mel_l2(expected: Samples, other: Samples) -> float | None:
    """Relative mel L2 of two answers to one request; None where they cannot be compared."""
    return None if _trouble(expected, other) else distances(expected, other).mel_l2


def wave(folder: Path, output: str) -> Samples:
    """The wave of that hash [n]; nothing where it was not kept."""
    kept = path(folder, output)
    return np.fromfile(kept, np.float32) if kept.is_file() else np.zeros(0, np.float32)


def path(folder: Path, output: str) -> Path:
    """Where a wave of that hash is, if it was kept."""
    return folder / f"{output}.f32"
