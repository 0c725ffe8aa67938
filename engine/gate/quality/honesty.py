"""Whether outputs are honest: what was timed was judged, the same request gives the same bytes, and nothing
is answered from memory.

An arm that fails here in the candidate is a fault (1). In the base, or in both, it makes the comparison moot
(3). Bytes that differ by rounding alone, as they may on a GPU, are said aloud and pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from engine.gate.data.outputs import Heard, Quality, Stray
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import ARMS, Arm, ExitCode, Judgement, Run

TIMED, REPEATS, CACHING = "timed = judged", "repeats", "no caching"
OTHER_SOUND = 0.05
"""Relative mel L2 from which two takes of one request are other sounds: half of what another seed does to the
voice in the box, and more than half precision does."""
CACHED = 0.5
"""A repeat that takes less than this share of the time of its text with another seed was not computed."""
NAMED = 3
_WORDS = {"timed": "timed outputs", "again": "repeats"}

Fault = tuple[ExitCode, str]
"""How bad, were it in the candidate alone; and what was seen."""


def judge(run: Run, quality: Quality, limits: Limits) -> tuple[Judgement, ...]:
    """Three questions about where the outputs come from, each always answered."""
    arms = {"base": quality.base, "candidate": quality.candidate}
    looks: dict[str, tuple[Callable[[Arm], list[Fault]], str]] = {
        TIMED: (
            lambda arm: [
                fault
                for workload in run.candidate.hashes
                for fault in _timed(workload, run.outputs(arm, workload), arms[arm], limits)
            ],
            "MATCHED: Every output that was timed was judged, by its hash.",
        ),
        REPEATS: (
            lambda arm: _strays([one for one in arms[arm].strays if one.kind == "again"], limits),
            f"SAME: {len(quality.candidate.second('again'))} repeats in another order gave the same bytes.",
        ),
        CACHING: (
            lambda arm: _caching(arms[arm]),
            "COMPUTED: Other texts, seeds and voices gave other bytes, and repeats took their time.",
        ),
    }
    return tuple(_combined(question, look, said) for question, (look, said) in looks.items())


def _combined(question: str, look: Callable[[Arm], list[Fault]], passed: str) -> Judgement:
    """One judgement on both arms: a fault in both is none of the candidate's, but nothing can be said."""
    found = {arm: look(arm) for arm in ARMS}
    worst = {
        arm: max((code for code, _ in faults), key=(0, 3, 1).index, default=0)
        for arm, faults in found.items()
    }
    if not any(found.values()):
        outcome, _, sentence = passed.partition(": ")
        return Judgement(question=question, outcome=outcome, code=0, sentence=sentence)
    code: ExitCode = 3 if any(worst.values()) else 0
    if worst["candidate"] == 1 and not worst["base"]:
        code = 1
    said = [f"{arm}: {text}" for arm in ARMS for text in _listed(found[arm])]
    outcome = {0: "ROUNDING", 1: "FAULT", 3: "UNDECIDED"}[code]
    return Judgement(question=question, outcome=outcome, code=code, sentence=f"{'; '.join(said)}.")


def _listed(faults: Sequence[Fault]) -> list[str]:
    texts = [text for _, text in faults]
    return texts[:NAMED] + [f"{len(texts) - NAMED} more"] * (len(texts) > NAMED)


def _timed(workload: str, outputs: set[str], heard: Heard, limits: Limits) -> list[Fault]:
    """Timed outputs of one workload that are not the judged one."""
    if workload not in heard.first:
        return [(1, f"{workload} was timed and never judged")]
    strays = [one for one in heard.strays if one.kind == "timed" and one.name == workload]
    unknown = outputs - {heard.first[workload].output} - {one.output for one in strays}
    lost: list[Fault] = [(3, f"{len(unknown)} more timed outputs of {workload} were neither judged nor kept")]
    return _strays(strays, limits) + lost * bool(unknown)


def _strays(strays: Sequence[Stray], limits: Limits) -> list[Fault]:
    """By name, how far from the judged output the farthest stray is, and how bad that is."""
    found: list[Fault] = []
    for name in dict.fromkeys(one.name for one in strays):
        far = [one.mel_l2 for one in strays if one.name == name]
        count = f"{len(far)} {_WORDS[strays[0].kind]} of {name}"
        known = [value for value in far if value is not None]
        if len(known) < len(far):
            found.append((1, f"{count} cannot be compared with the judged one: other length, or NaN"))
            continue
        code: ExitCode = 0 if max(known) <= limits.lossless_mel else 3 if max(known) < OTHER_SOUND else 1
        what = {0: "only rounded differently", 1: "another sound", 3: "more than rounding"}[code]
        found.append(
            (code, f"{count} with other bytes than the judged one ({what}: mel L2 {max(known):.2g})")
        )
    return found


def _caching(heard: Heard) -> list[Fault]:
    """Different requests with the same bytes, and repeats that were too quick to have been computed."""
    found: list[Fault] = []
    asked: dict[str, dict[tuple[str, str, int], str]] = {}
    for one in heard.spoken:
        label = f"{one.name} in voice {one.voice} with seed {one.seed}"
        asked.setdefault(one.output, {})[one.text, one.voice, one.seed] = label
    found += [
        (1, f"the same bytes for {' and '.join(list(requests.values())[:2])}")
        for requests in asked.values()
        if len(requests) > 1
    ]
    fresh = {one.name: one.seconds for one in heard.second("other seed")}
    ratios = [one.seconds / fresh[one.name] for one in heard.second("again") if one.name in fresh]
    if ratios and (typical := median(ratios)) < CACHED:
        found.append((1, f"a repeat takes {typical:.0%} of the time of the same text with another seed"))
    return found
