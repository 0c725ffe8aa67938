"""Whether outputs are honest: what was timed was judged, the same request gives the same bytes, and nothing
is answered from memory.

An arm that fails here in the candidate is a fault (1). In the base, or in both, it makes the comparison moot
(3). Bytes that differ by rounding alone, as they may on a GPU, are said aloud and pass.

No process is timed with one request twice (seeds differ from call to call), so a memory of whole answers
gains nothing where it is timed. A memory of what belongs to a text alone would, since a workload's text stays
the same: the quality pass asks for repeats in turn with new requests of the same length, and the time that a
repeat saves is held to a limit with an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from engine.gate.data.outputs import Heard, Quality, Stray
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Call, Process, Run
from engine.gate.data.verdict import ARMS, Arm, ExitCode, Judgement
from engine.gate.quality import timed
from engine.gate.quality.timed import Request
from engine.gate.stats.paired import Estimate, estimate

TIMED, REPEATS, CACHING = "timed = judged", "repeats", "no caching"
OTHER_SOUND = 0.05
"""Relative mel L2 from which two takes of one request are other sounds: half of what another seed does to the
voice in the box, and more than half precision does."""
SAVED = 0.1
"""Share of its time that a repeat may save: a run in which more is sure was not computed anew."""
NAMED = 3
_WORDS = {"timed": "timed outputs", "again": "repeats"}

Fault = tuple[ExitCode, str]
"""How bad, were it in the candidate alone; and what was seen."""


def judge(run: Run, quality: Quality, limits: Limits) -> tuple[Judgement, ...]:
    """Three questions about where the outputs come from, each always answered."""
    arms = {"base": quality.base, "candidate": quality.candidate}
    given = {arm: timed.answers(run.processes, arm) for arm in ARMS}
    processes = sum(process.arm == "candidate" for process in run.processes)
    looks: dict[str, tuple[Callable[[Arm], list[Fault]], str]] = {
        TIMED: (
            lambda arm: _timed(run, given[arm], arms[arm], limits),
            _matched(len(given["candidate"]), processes),
        ),
        REPEATS: (
            lambda arm: _strays([stray for stray in arms[arm].strays if stray.kind == "again"], limits),
            f"SAME: {_count(quality.candidate)} repeats in another process and order gave the same bytes.",
        ),
        CACHING: (
            lambda arm: [*remembered(run.processes, arm, arms[arm]), *_saved(arms[arm])],
            f"COMPUTED: Other texts, seeds and voices gave other bytes. {_pace(quality)}",
        ),
    }
    return tuple(_combined(question, look, passed) for question, (look, passed) in looks.items())


def _matched(requests: int, processes: int) -> str:
    return (
        f"MATCHED: Each of {requests} timed requests had one answer in {processes} processes of an arm, and "
        "the judges heard answers that were timed."
    )


def from_times_alone(run: Run) -> list[Judgement]:
    """What calls say of a memory where nothing was judged; empty if there is no sign of one."""
    found = _combined(CACHING, lambda arm: remembered(run.processes, arm, None), "COMPUTED: No sign.")
    return [found] if found.code else []


def _combined(question: str, look: Callable[[Arm], list[Fault]], passed: str) -> Judgement:
    """One judgement on both arms: a fault in both is none of the candidate's, but nothing can be said."""
    faults = {arm: look(arm) for arm in ARMS}
    worst = {
        arm: max((code for code, _ in listed), key=(0, 3, 1).index, default=0)
        for arm, listed in faults.items()
    }
    if not any(faults.values()):
        outcome, _, sentence = passed.partition(": ")
        return Judgement(topic="sound", question=question, outcome=outcome, code=0, sentence=sentence)
    code: ExitCode = 3 if any(worst.values()) else 0
    if worst["candidate"] == 1 and not worst["base"]:
        code = 1
    texts = [f"{arm}: {text}" for arm in ARMS for text in _listed(faults[arm])]
    outcome = {0: "ROUNDING", 1: "FAULT", 3: "UNDECIDED"}[code]
    sentence = f"{'; '.join(texts)}."
    return Judgement(topic="sound", question=question, outcome=outcome, code=code, sentence=sentence)


def _listed(faults: Sequence[Fault]) -> list[str]:
    texts = [text for _, text in faults]
    return texts[:NAMED] + [f"{len(texts) - NAMED} more"] * (len(texts) > NAMED)


def _timed(run: Run, given: Mapping[Request, Sequence[Call]], heard: Heard, limits: Limits) -> list[Fault]:
    """Timed requests with more than one answer, and workloads of which no timed answer was judged."""
    faults: list[Fault] = []
    judged = {answer.output for answer in heard.judged.values() if answer.kind == "timed"}
    strays = [stray for stray in heard.strays if stray.kind == "timed"]
    known = {(stray.name, stray.seed, stray.output) for stray in strays}
    for workload in run.candidate.hashes:
        own = {request: timed.outputs(calls) for request, calls in given.items() if request[0] == workload}
        if not any(outputs[0] in judged for outputs in own.values()):
            faults.append((1, f"{workload} was timed and never judged"))
            continue
        faults += _strays([stray for stray in strays if stray.name == workload], limits)
        others = [(*request, output) for request, outputs in own.items() for output in outputs[1:]]
        if lost := [other for other in others if other not in known]:
            faults.append((3, f"{len(lost)} more timed outputs of {workload} were neither judged nor kept"))
    return faults


def _strays(strays: Sequence[Stray], limits: Limits) -> list[Fault]:
    """By name, how far from the expected output the farthest stray is, and how bad that is."""
    faults: list[Fault] = []
    for name in dict.fromkeys(stray.name for stray in strays):
        far = [stray.mel_l2 for stray in strays if stray.name == name]
        count = f"{len(far)} {_WORDS[strays[0].kind]} of {name}"
        known = [value for value in far if value is not None]
        if len(known) < len(far):
            faults.append((1, f"{count} cannot be compared with the first answer: other length, or NaN"))
            continue
        code: ExitCode = 0 if max(known) <= limits.lossless_mel else 3 if max(known) < OTHER_SOUND else 1
        what = {0: "only rounded differently", 1: "another sound", 3: "more than rounding"}[code]
        faults.append(
            (code, f"{count} with other bytes than the first answer ({what}: mel L2 {max(known):.2g})")
        )
    return faults


def remembered(processes: Sequence[Process], arm: Arm, heard: Heard | None) -> list[Fault]:
    """Different requests with the same bytes, timed or spoken later; and requests that were timed twice."""
    asked: dict[str, dict[tuple[str, str, int], str]] = {}
    for (workload, seed), calls in timed.answers(processes, arm).items():
        for output in timed.outputs(calls):
            asked.setdefault(output, {})[workload, "", seed] = f"{workload} with seed {seed}"
    faults = [*_same_bytes(asked)]
    if heard is not None:
        asked = {}
        for answer in heard.spoken:
            label = f"{answer.name} in voice {answer.voice} with seed {answer.seed}"
            asked.setdefault(answer.output, {})[answer.text, answer.voice, answer.seed] = label
        faults += _same_bytes(asked)
    if twice := timed.asked_twice(processes, arm):
        workload, seed = twice[0]
        faults.append((3, f"a process was timed twice with {workload} seed {seed}: it may have known it"))
    return faults


def _same_bytes(asked: Mapping[str, Mapping[tuple[str, str, int], str]]) -> list[Fault]:
    """One fault for each output that more than one request was answered with."""
    return [
        (1, f"the same bytes for {' and '.join(list(requests.values())[:2])}")
        for requests in asked.values()
        if len(requests) > 1
    ]


def _saved(heard: Heard) -> list[Fault]:
    """A memory that surely saves a part of a repeat."""
    saved = saving(heard)
    if saved is None or not saved.low > -math.log(1 - SAVED):
        return []
    least, typical = (1 - math.exp(-value) for value in (saved.low, saved.mean))
    return [(1, f"a repeat takes {typical:.0%} less time than a new request, surely {least:.0%}")]


def saving(heard: Heard) -> Estimate | None:
    """How much less time repeats took than new requests of the same length, as a log-ratio; None if no pair
    was asked."""
    pairs = zip(heard.of("fresh"), heard.of("repeat"), strict=True)
    ratios = [
        math.log((fresh.seconds / fresh.audio_seconds) / (repeat.seconds / repeat.audio_seconds))
        for fresh, repeat in pairs
    ]
    return estimate(ratios) if ratios else None


def _pace(quality: Quality) -> str:
    """What the candidate's repeats say of a memory, for people."""
    saved = saving(quality.candidate)
    if saved is None:
        return "Whether repeats are quicker was not asked."
    most = 1 - math.exp(-saved.high) if math.isfinite(saved.high) else math.inf
    if most > 2 * SAVED:
        return "The calls are too noisy to tell whether repeats are quicker than new requests."
    return f"Repeats save at most {max(0.0, most):.0%} of the time of new requests."


def _count(heard: Heard) -> int:
    return len(heard.of("again")) + len(heard.of("repeat"))
