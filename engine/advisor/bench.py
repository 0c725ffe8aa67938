"""One sitting: a process of a candidate beside one of the present configuration, and what it needs."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.advisor.candidates import PROVEN_BY
from engine.advisor.recommend_record import UNJUDGED, Sitting, Sound
from engine.errors import UsageError
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Call
from engine.gate.data.workloads import Sentence
from engine.gate.measure.process import Instrument
from engine.options import Options

LONGEST_ERROR = 200
HOPELESS = 1.5
"""A candidate that takes so many times as long in its first pair gets no second one."""

Open = Callable[[Options, float], contextlib.AbstractContextManager[Instrument]]
"""Starts a process with these toggles, and ends it after so many seconds if it still runs."""
Hear = Callable[[Options, float], Sound]
"""Lets a set speak the pinned texts, for so many seconds at most, and judges it against the present one."""
Moved = Callable[[str, str], float | None]
"""Relative mel L2 between two outputs, by their hashes; None where they cannot be compared."""
Works = Callable[[Options], bool]
Watch = Callable[[str, float], None]
"""Told what is being done, and how many seconds have passed."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What trials are made with; every part is a seam for tests.

    Attributes:
        sentence: what is spoken.
        open: starts processes.
        hear: judges the sound of a lossy set.
        moved: compares two outputs.
        works: whether the device can serve a set.
        clock: seconds.
        watch: is told how far it is.
        limits: of quality.
    """

    sentence: Sentence
    open: Open
    hear: Hear = lambda options, seconds: UNJUDGED
    moved: Moved = lambda one, other: None
    works: Works = lambda options: True
    clock: Callable[[], float] = time.monotonic
    watch: Watch = lambda doing, seconds: None
    limits: Limits = dataclasses.field(default_factory=lambda: Limits.model_validate({}))


def sit(
    bench: Bench, handle: Instrument, present: Instrument, changes: Mapping[str, Any], pairs: int
) -> Sitting:
    """Warm both up, then let their calls take turns: c p p c c p p c ...; then end the candidate's."""
    for process in (handle, present):
        process.call(bench.sentence)
    mine, theirs = list[Call](), list[Call]()
    for pair in range(pairs):
        for own in (True, False) if pair % 2 == 0 else (False, True):
            (mine if own else theirs).append((handle if own else present).call(bench.sentence))
        if mine[0].rtf > HOPELESS * theirs[0].rtf:
            break
    end = handle.finish()
    return Sitting(
        rtfs=tuple(call.rtf for call in mine),
        current=tuple(call.rtf for call in theirs),
        stages=_stages(mine),
        current_stages=_stages(theirs),
        audio_ratio=mine[-1].audio_seconds / theirs[-1].audio_seconds,
        peak_mb=peak_of(end),
        load_seconds=handle.described["load_seconds"],
        unproven=unproven(changes, end["evidence"]),
        moved=bench.moved(theirs[-1].output, mine[-1].output),
    )


def kept(sittings: Sequence[Sitting], limits: Limits) -> Sound:
    """Whether a set that claims to keep the result does."""
    if any(sitting.audio_ratio != 1 for sitting in sittings):
        return Sound(heard="not lossless", code=1, sentence="Its audio has another length.")
    known = [sitting.moved for sitting in sittings if sitting.moved is not None]
    if not known:
        return UNJUDGED
    good = max(known) <= limits.lossless_mel
    said = f"Mel moved by {max(known):.2g}, limit {limits.lossless_mel:g}."
    return Sound(heard="lossless" if good else "not lossless", code=0 if good else 1, sentence=said)


def unproven(changes: Mapping[str, Any], evidence: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Option -> what was observed, for each changed option that was not seen to do what it should."""
    lost = {}
    for option in changes:
        proven, seen = evidence.get(PROVEN_BY.get(option, option), (None, "there is no evidence of it"))
        if proven is not True:
            lost[option] = str(seen)
    return lost


def peak_of(end: Mapping[str, Any]) -> float:
    """Peak memory of a process, MiB: the device's where it has its own."""
    return float(end["peak_device_mb"] or end["peak_host_mb"])


def _stages(calls: Sequence[Call]) -> dict[str, float]:
    """Seconds in each stage per second of audio: the median of the calls."""
    return {
        stage: float(np.median([call.stages[stage] / call.audio_seconds for call in calls]))
        for stage in calls[0].stages
    }


def last_line(problem: UsageError) -> str:
    """What a process that ended said last."""
    lines = [line.strip() for line in problem.given.splitlines() if line.strip()]
    return (lines or [str(problem)])[-1][:LONGEST_ERROR]
