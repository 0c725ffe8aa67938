"""Base against candidate: time, tails, start, stages, peak memory and work, each a judgement of its own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from engine.gate.data.limits import Limit, RelativeLimits
from engine.gate.data.samples import Process, Run, Work
from engine.gate.data.verdict import ExitCode, Judgement, Topic
from engine.gate.measure.compare import Decisions, pairs
from engine.gate.stats import calls, ratio_test
from engine.gate.stats.calls import Floats
from engine.gate.stats.limits import limit_check
from engine.gate.stats.ratio_test import Decision
from engine.gate.verdict.bounds import apart, code_of, held, percent

TIME, TAILS, FIRST_CALL, LOAD, WORK = "time", "tails", "first call", "load", "work"
MORE_WORK = 1.02
"""More work than this many times the base's is undecided until it is accepted."""
LEAST_SECONDS = 0.001
"""Shorter stages are not compared: the clock and the caches decide those."""


def topic(run: Run) -> Topic:
    """Whether the arms differ by their code or, asked by name, by their toggles."""
    return "toggles" if "toggles" in run.questions else "change"


def judge(
    run: Run, decisions: Decisions | None, limits: RelativeLimits, ratio: Limit, accept_more_work: bool
) -> list[Judgement]:
    """Every judgement of the candidate against its base; none where the run has no base.

    Args:
        run: the samples.
        decisions: of `compare.conclude`; None without a base.
        limits: relative limits of the baseline.
        ratio: the limit of the time ratio, or the one that `--threshold` put in its place.
        accept_more_work: more work than the base's passes, which is said.
    """
    if decisions is None:
        return []
    judgements = [
        _time(run, name, decision, ratio, _work(run, name)) for name, decision in decisions.centre.items()
    ]
    judgements.append(_tails(run, decisions.tails, limits.tail_ratio))
    for question, decision, limit in (
        (FIRST_CALL, decisions.first_call, limits.first_call_ratio),
        (LOAD, decisions.load, limits.load_ratio),
    ):
        if decision is not None:
            judgements.append(_start(topic(run), question, decision, limit))
    judgements += _peaks(run, limits.peak_memory)
    judgements += [_worked(run, name, accept_more_work) for name in run.candidate.hashes]
    return judgements + _stages(run)


def compared(
    topic: Topic, question: str, decision: Decision, limit: Limit, workload: str = "", said: str = ""
) -> Judgement:
    """A decision with the limit of the ratio held to its one-sided 95 % bounds; `said` ends the sentence."""
    code = code_of(ratio_test.exit_code(decision, limit.upper - 1))
    undecided = decision.verdict is ratio_test.Verdict.UNDECIDED
    bound = f"the 95 % upper bound is {percent(decision.upper_95)} and the threshold {limit.upper - 1:+.0%}"
    sentence = decision.reason.removeprefix(f"{decision.verdict.value}: ")
    if undecided and code == 0:
        sentence += f" It passes: {bound}, so one as large as that is ruled out, a smaller one is not."
    elif undecided:
        sentence += f" It is no pass: {bound}."
    elif decision.verdict is ratio_test.Verdict.SLOWER and decision.ratio <= limit.upper:
        sentence += " A slow-down that is sure fails below the threshold too."
    outcome = decision.verdict.value
    if decision.ratio > limit.upper:
        surely = decision.control.quiet and decision.narrow.low > limit.upper
        code = max(code, code_of(1 if surely else 3), key=(0, 3, 1).index)
        if decision.verdict is not ratio_test.Verdict.SLOWER:
            outcome = "OVER LIMIT" if surely else "UNDECIDED"
        sentence += _over(decision, limit, surely)
    return _ratio(topic, question, decision, limit, outcome, code, sentence + said, workload)


def _time(run: Run, name: str, decision: Decision, limit: Limit, work: float | None) -> Judgement:
    """The time of one workload. An unchanged count of work stands beside an answer that is no answer."""
    said = ""
    if decision.verdict is ratio_test.Verdict.UNDECIDED and work is not None and _same(work):
        said = " Its work is unchanged: as many operators, operations and bytes as the base's."
    return compared(topic(run), TIME, decision, limit, name, said)


def _tails(run: Run, decision: Decision, limit: Limit) -> Judgement:
    """The weight of slow calls over all workloads; few calls cannot show rare ones, which is said."""
    count = sum(len(steady) for name in run.candidate.hashes for steady in run.calls("candidate", name))
    few = f" {count} calls show no slow call that is rarer than that."
    return compared(topic(run), TAILS, decision, limit, said=few if count < calls.TAIL_CALLS else "")


def _start(topic: Topic, question: str, decision: Decision, limit: Limit) -> Judgement:
    """What a process does once, held to a generous limit: what stays below it passes, sure or not."""
    over = decision.ratio > limit.upper
    surely = over and decision.control.quiet and decision.narrow.low > limit.upper
    code: ExitCode = 1 if surely else 3 if over else 0
    outcome = {0: "WITHIN", 1: "OVER LIMIT", 3: "UNDECIDED"}[code]
    change = f"{percent(decision.ratio)} over {decision.blocks} blocks"
    sentence = f"{change}, against a limit of {limit.upper - 1:+.0%}: within."
    if over:
        sentence = f"{change}.{_over(decision, limit, surely)}"
    return _ratio(topic, question, decision, limit, outcome, code, sentence)


def _over(decision: Decision, limit: Limit, surely: bool) -> str:
    ratio, upper = apart(decision.ratio, limit.upper)
    bound = "and its one-sided 95 % bound too" if surely else "but not surely: more samples must tell"
    return f" The ratio {ratio} is over the limit {upper}, {bound}."


def _ratio(
    topic: Topic,
    question: str,
    decision: Decision,
    limit: Limit,
    outcome: str,
    code: ExitCode,
    sentence: str,
    workload: str = "",
) -> Judgement:
    low, high = (bound if math.isfinite(bound) else None for bound in (decision.wide.low, decision.wide.high))
    return Judgement(
        topic=topic,
        question=question,
        workload=workload,
        outcome=outcome,
        code=code,
        sentence=sentence,
        value=decision.ratio,
        low=low,
        high=high,
        limit=limit.upper,
        unit=limit.unit,
    )


def _peaks(run: Run, limit: Limit) -> list[Judgement]:
    """Peak memory of the candidate's processes against a typical one of the base, host and device."""
    judgements = []
    for where in ("host", "device"):
        sides: dict[str, list[float]] = {"base": [], "candidate": []}
        for process in run.processes:
            if peak := getattr(process, f"peak_{where}_mb"):
                sides[process.arm].append(peak)
        if all(sides.values()):
            typical = float(np.median(sides["base"]))
            absolute = Limit(upper=limit.upper * typical, unit="MiB")
            check = limit_check(sides["candidate"], absolute.upper)
            judgement = held(topic(run), f"peak memory, {where}", check, absolute)
            judgements.append(judgement.model_copy(update={"base": typical}))
    return judgements


def _worked(run: Run, name: str, accepted: bool) -> Judgement:
    """The work of one workload, counted: more than the base's by over 2 % is undecided until accepted.

    Where toggles are compared, another amount of work is what was asked for, and is shown.
    """
    counts = [run.work.get(arm, {}).get(name) for arm in ("base", "candidate")]
    base, candidate = counts
    ratio = _work(run, name)
    if base is None or candidate is None or ratio is None:
        sentence = "Work was not counted on both sides, so only time tells."
        return Judgement(
            topic=topic(run), question=WORK, workload=name, outcome="NOT COUNTED", code=0, sentence=sentence
        )
    field = max(Work.model_fields, key=lambda field: abs(math.log(_share(base, candidate, field))))
    value, before = getattr(candidate, field), getattr(base, field)
    outcome, code = _work_outcome(base, candidate, accepted, asked=topic(run) == "toggles")
    sentence = f"{value} {field.replace('_', ' ')} against {before} in the base ({percent(ratio)})."
    if _same(ratio):
        sentence = f"{candidate.operators} operators, and every other count within 0.1 % of the base's."
    if code:
        sentence += " If that is meant, say --accept-more-work."
    elif outcome == "ACCEPTED":
        sentence += " Accepted by --accept-more-work."
    return Judgement(
        topic=topic(run),
        question=WORK,
        workload=name,
        outcome=outcome,
        code=code,
        sentence=sentence,
        value=float(value),
        base=float(before),
        limit=MORE_WORK * before if before else None,
        unit=field.replace("_", " "),
    )


def _work_outcome(base: Work, candidate: Work, accepted: bool, asked: bool) -> tuple[str, ExitCode]:
    """More of anything counts as more, whatever else became less."""
    shares = [_share(base, candidate, field) for field in Work.model_fields]
    if all(_same(share) for share in shares):
        return "UNCHANGED", 0
    if max(shares) <= MORE_WORK:
        return ("LESS WORK" if max(shares) < 1 or min(shares) < 1 / MORE_WORK else "NEARLY UNCHANGED"), 0
    if asked:
        return "OTHER WORK", 0
    return ("ACCEPTED", 0) if accepted else ("MORE WORK", 3)


def _work(run: Run, name: str) -> float | None:
    """Candidate / base of the count that changed most, or None where one arm was not counted."""
    base, candidate = (run.work.get(arm, {}).get(name) for arm in ("base", "candidate"))
    if base is None or candidate is None:
        return None
    return max(
        (_share(base, candidate, field) for field in Work.model_fields), key=lambda x: abs(math.log(x))
    )


def _share(base: Work, candidate: Work, field: str) -> float:
    """Candidate / base of one count; counts of zero are taken as one, so that work from nothing is seen."""
    return float(max(1, getattr(candidate, field)) / max(1, getattr(base, field)))


def _same(ratio: float) -> bool:
    return abs(ratio - 1) <= 0.001


def _stages(run: Run) -> list[Judgement]:
    """One judgement for each stage that surely became slower or faster: it explains and decides nothing.

    A stage that is a small part of the whole can change much without the whole showing it (Amdahl); only the
    whole has a limit.
    """
    stages = [(name, stage) for name in run.candidate.hashes for stage in _common(run, name)]
    plan = dataclasses.replace(run.plan, family=max(1, len(stages)))
    judgements = []
    for name, stage in stages:
        times = partial(_seconds, workload=name, stage=stage)
        if min(float(times(process).min()) for process in run.processes) < LEAST_SECONDS:
            continue
        logs = pairs(run.processes, lambda process, times=times: np.log(times(process)))  # type: ignore[misc]
        decision = ratio_test.decide(*logs, plan, last=True)
        if decision.verdict in (ratio_test.Verdict.SLOWER, ratio_test.Verdict.FASTER):
            judgements.append(_stage(run, name, stage, decision))
    return judgements


def _stage(run: Run, name: str, stage: str, decision: Decision) -> Judgement:
    share = f"it is {_part(run, name, stage):.1%} of the base's time"
    return Judgement(
        topic=topic(run),
        question=f"stage {stage}",
        workload=name,
        outcome=decision.verdict.value,
        code=0,
        sentence=f"{percent(decision.ratio)}; {share}. A stage explains and decides nothing.",
        value=decision.ratio,
        low=decision.wide.low,
        high=decision.wide.high,
        unit="candidate/base",
    )


def _common(run: Run, name: str) -> list[str]:
    """The stages that every call of a workload has, on both sides, in the order in which they are told."""
    arms = (run.calls("base", name), run.calls("candidate", name))
    every = [call for arm in arms for steady in arm for call in steady]
    return [stage for stage in every[0].stages if all(stage in call.stages for call in every)]


def _seconds(process: Process, workload: str, stage: str) -> Floats:
    """Seconds of one stage in each call of a process: [r]."""
    (series,) = (series for series in process.series if series.workload == workload)
    return np.array([call.stages[stage] for call in series.calls], dtype=np.float64)


def _part(run: Run, name: str, stage: str) -> float:
    every: Sequence[tuple[float, float]] = [
        (call.stages[stage], call.seconds) for steady in run.calls("base", name) for call in steady
    ]
    spent, total = np.sum(every, axis=0)
    return float(spent / total)
