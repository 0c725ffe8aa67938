"""Whether a run is what it claims to be: toggles proven, warm-up apart, both arms speaking equally long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from engine.gate.data.samples import ARMS, Arm, Judgement, Observed, Run, Series

TOGGLES, WARM_UP, DURATION = "toggles", "warm-up", "duration"
SEEN_BY = {"cfg_strength": "guidance", "guidance_until": "guidance"}
"""Options without evidence of their own, and the one whose evidence looks at them."""
DURATION_MARGIN = 0.02
"""Lengths of audio within this share are the same: they follow from words, clip and speed alone."""
WARM_UP_MARGIN = 0.15
"""A typical process whose first counted call is slower than its later ones by more was still warming up."""


def judge(run: Run) -> list[Judgement]:
    """What can be trusted in a run, and what not."""
    return [*_toggles(run), *_warm_up(run), *_durations(run)]


def notes(run: Run) -> list[str]:
    """What the outputs say: whether seeds reproduced, and whether both arms gave the same bytes."""
    found = []
    for name in run.candidate.hashes:
        outputs = {arm: _outputs(run, arm, name) for arm in ARMS if run.side(arm) is not None}
        found += [
            f"{name}: the {arm} gave {len(seen)} different outputs for one seed; expected one"
            for arm, seen in outputs.items()
            if len(seen) > 1
        ]
        if len(outputs) == len(ARMS) and outputs["base"] == outputs["candidate"]:
            found.append(f"{name}: both arms gave the same samples, bit for bit")
    return found


def _outputs(run: Run, arm: Arm, name: str) -> set[str]:
    return {call.output for _, one in run.series(arm, name) for call in one.calls}


def _toggles(run: Run) -> list[Judgement]:
    """One judgement per toggle that failed its proof. In the base it makes the comparison moot."""
    failed, unproven = [], []
    for arm in ARMS:
        side = run.side(arm)
        silent = (
            []
            if side is None
            else [option for option in side.options if SEEN_BY.get(option, option) not in _evidence(run, arm)]
        )
        failed += [_silent(arm, option) for option in silent]
        for toggle, seen in _evidence(run, arm).items():
            if refuted := [one for one in seen if one.proven is False]:
                failed.append(_failed(arm, toggle, refuted[0].observed))
            elif all(one.proven is None for one in seen):
                unproven.append(f"{toggle} of the {arm} ({seen[0].observed})")
    if failed:
        return failed
    if unproven:
        sentence = f"Nothing could be observed of {', '.join(unproven)}."
        return [Judgement(question=TOGGLES, outcome="UNPROVEN", code=0, sentence=sentence)]
    said = "What was observed agrees with every option."
    return [Judgement(question=TOGGLES, outcome="ENGAGED", code=0, sentence=said)]


def _evidence(run: Run, arm: Arm) -> dict[str, list[Observed]]:
    """What the processes of one arm observed, by toggle."""
    found: dict[str, list[Observed]] = {}
    for process in run.processes:
        if process.arm == arm:
            for toggle, seen in process.evidence.items():
                found.setdefault(toggle, []).append(seen)
    return found


def _failed(arm: Arm, toggle: str, observed: str) -> Judgement:
    code: Literal[1, 3] = 1 if arm == "candidate" else 3
    sentence = f"What {toggle} did in the {arm} is not what its option says: {observed}."
    return Judgement(question=f"toggle {toggle}", outcome="NOT ENGAGED", code=code, sentence=sentence)


def _silent(arm: Arm, option: str) -> Judgement:
    sentence = f"{option} is on in the {arm}, and no evidence of it was given."
    return Judgement(question=f"toggle {option}", outcome="NO EVIDENCE", code=3, sentence=sentence)


def _warm_up(run: Run) -> list[Judgement]:
    """An arm whose processes typically begin slowly was measured while it warmed up."""
    cold = [
        f"{name} of the {arm}: {excess:+.0%}"
        for name in run.candidate.hashes
        for arm in ARMS
        if (excess := _first_excess([[c.seconds for c in one.calls] for _, one in run.series(arm, name)]))
        > WARM_UP_MARGIN
    ]
    unsettled = [
        f"{name} of the {arm}"
        for name in run.candidate.hashes
        for arm in ARMS
        if _never_settled([one for _, one in run.series(arm, name)])
    ]
    if unsettled:
        sentence = (
            f"Half of the calls stand out from the others ({', '.join(unsettled)}): they never settled."
        )
        return [Judgement(question=WARM_UP, outcome="NEVER SETTLED", code=3, sentence=sentence)]
    if not cold:
        return []
    sentence = (
        f"The first counted call is slower than the later ones ({', '.join(cold)}): warm-up was counted."
    )
    return [Judgement(question=WARM_UP, outcome="COUNTED", code=3, sentence=sentence)]


def _never_settled(found: Sequence[Series]) -> bool:
    """Whether `calls.detect_warmup` gave up (it says half) in most processes."""
    gave_up = [len(one.warmup) >= (len(one.warmup) + len(one.calls)) // 2 > 0 for one in found]
    return sum(gave_up) > len(found) / 2


def _first_excess(calls: Iterable[Sequence[float]]) -> float:
    """By how much the first call of a typical process exceeds the median of its later ones."""
    excess = [one[0] / float(np.median(one[1:])) - 1 for one in calls if len(one) > 1]
    return float(np.median(excess)) if excess else 0.0


def _durations(run: Run) -> list[Judgement]:
    """A candidate that speaks for longer or shorter than the base did not do the same work."""
    found = []
    for name in run.candidate.hashes if run.base is not None else ():
        base, candidate = (
            float(np.median([call.audio_seconds for _, one in run.series(arm, name) for call in one.calls]))
            for arm in ARMS
        )
        if abs(candidate / base - 1) > DURATION_MARGIN:
            lengths = f"{candidate:.2f} s in the candidate and {base:.2f} s in the base"
            sentence = f"{name} lasts {lengths}: words were lost or added."
            found.append(
                Judgement(
                    question=DURATION,
                    outcome="CHANGED",
                    code=1,
                    sentence=sentence,
                    value=candidate / base,
                    limit=1 + DURATION_MARGIN,
                    unit="candidate/base",
                )
            )
    return found
