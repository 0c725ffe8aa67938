"""How many of the pinned cases fit into the time that is left, at the pace at which the arms were timed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from engine.gate.data.samples import ARMS, Process
from engine.gate.data.texts import Case
from engine.gate.data.workloads import Sentence
from engine.gate.quality.script import MEMORY_PAIRS

HEARING = 0.7
"""Seconds of one core that all judges take for a second of audio (measured as processor time: 0.65)."""
OPENING = 15.0
"""Seconds in which the judges are opened."""


class Pace(NamedTuple):
    """Seconds for both arms together: to say and to judge one byte of text, and what is paid once."""

    speaking: float
    judging: float
    once: float

    @property
    def case(self) -> float:
        """Seconds for one byte of a case."""
        return self.speaking + self.judging


class Fitting(NamedTuple):
    """The cases that fit, one sentence for each that is left out, and the seconds that all will take."""

    cases: tuple[Case, ...]
    left_out: tuple[str, ...]
    seconds: float


def pace(sentences: Sequence[Sentence], processes: Sequence[Process], workers: int) -> Pace:
    """The pace of timed calls, by the workload that is slowest for its length.

    Args:
        sentences: those that were timed.
        processes: of both arms.
        workers: processes that judge side by side; 0: nobody judges.
    """
    sizes = {sentence.name: _bytes(sentence.text) for sentence in sentences}
    speaking, audio, loading = 0.0, 0.0, 0.0
    for arm in ARMS:
        own = [process for process in processes if process.arm == arm]
        calls = [(sizes[series.workload], series.calls) for process in own for series in process.series]
        speaking += max((median(call.seconds for call in timed) / size for size, timed in calls), default=0.0)
        audio += max(
            (median(call.audio_seconds for call in timed) / size for size, timed in calls), default=0.0
        )
        loading += max((process.load_seconds for process in own), default=0.0)
    judging = HEARING * audio / workers if workers else 0.0
    return Pace(speaking, judging, loading + (OPENING if workers else 0.0))


def fitting(
    cases: Sequence[Case],
    least: Sequence[str],
    sentences: Sequence[Sentence],
    probes: int,
    price: Pace,
    seconds: float,
) -> Fitting:
    """The least set, and of the others in their order all that fit; what fits not is named.

    Args:
        cases: all that the checkpoint speaks.
        least: names of those that are spoken whatever they take.
        sentences: the timed requests that are judged, and said once more.
        probes: cases of the second pass, each said up to three times more.
        price: from `pace`.
        seconds: the time left; infinite where there is no limit.
    """
    sizes = {case.name: _bytes(case.text) for case in cases}
    mean = sum(sizes.values()) / len(sizes)
    timed = [_bytes(sentence.text) for sentence in sentences]
    again = 3 * probes * mean + sum(timed) + 2 * MEMORY_PAIRS * min(timed, default=0)
    spent = price.once + again * price.speaking + sum(timed) * price.judging
    spent += sum(sizes[case.name] for case in cases if case.name in least) * price.case
    chosen, left_out = set(least), []
    for case in cases:
        cost = sizes[case.name] * price.case
        if case.name in chosen:
            continue
        if spent + cost > seconds:
            left_out.append(case.name)
            continue
        chosen.add(case.name)
        spent += cost
    kept = tuple(case for case in cases if case.name in chosen)
    why = f"left out, {len(kept)} of {len(cases)} cases fit into the {_minutes(seconds)} that are left"
    return Fitting(kept, tuple(f"{name}: {why}" for name in left_out), spent)


def _bytes(text: str) -> int:
    """What a text's length follows from."""
    return len(text.encode())


def _minutes(seconds: float) -> str:
    return f"{max(0.0, seconds) / 60:.1f} minutes" if math.isfinite(seconds) else "time"
