"""The verdict: speed, tails, memory, quality and trust, judged apart and combined by the worst exit code.

Every number comes from `statistics` or `quality`. Here it is only decided which question is put, and what
each answer means: 0 pass, 1 regression, 3 undecided or unfit. (2, a missing or foreign baseline, was raised.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np

from engine.gate.baselines.select import Baseline, Limit, ProductLimits, Selection, find_recorded
from engine.gate.data.samples import CONTROL, ExitCode, Judgement, Row, Run, Verdict
from engine.gate.listening.votes import Votes
from engine.gate.measure.compare import Decisions, decide
from engine.gate.stats import calls, ratio_test
from engine.gate.verdict import sound, stages, trust

WORST_LAST: tuple[ExitCode, ...] = (0, 3, 1, 2)
PREFLIGHT = "preflight"
SLOPE_CALLS = 3
"""Fewest calls of a process whose memory may be said to grow."""


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code that wins: 2 over 1 over 3 over 0."""
    return max(codes, key=WORST_LAST.index, default=0)


def judge(
    run: Run,
    selection: Selection,
    *,
    loosened: Sequence[str] = (),
    accept_looser: bool = False,
    votes: Votes | None = None,
) -> Verdict:
    """The verdict on a run by the selected baseline. Keep it with `run.model_copy(update={"verdict": ...})`.

    Args:
        run: the samples, and the machine's fitness when they were taken.
        selection: from `baseline.select`.
        loosened: from `recording.loosened`: limits looser than the base revision's. They fail the run ...
        accept_looser: ... unless accepted, which is said aloud.
        votes: of people on the outputs of this run.

    Raises:
        BaselineError: the arms spoke different workloads, a recorded workload has changed, or quality was
            measured and the baseline has no limits for it.
        VotesError: the votes are on other outputs.
    """
    run.check_comparable()
    baseline, limits = selection.baseline, selection.baseline.relative
    ratio = limits.time_ratio
    if run.threshold is not None:
        ratio = Limit(upper=1 + run.threshold, unit=ratio.unit)
    decisions = decide(run.processes, run.plan) if run.base else None
    notes = [selection.said, *sound.notes(run)]
    if ratio.upper > limits.time_ratio.upper:
        notes.append(
            f"--threshold raised the limit from {limits.time_ratio.upper:g} to {ratio.upper:g} x base"
        )
    rows, whole = [], []
    for name in run.candidate.hashes:
        speed = (
            _compared("centre", decisions.centre[name], ratio)
            if decisions
            else _recorded(run, name, baseline, ratio)
        )
        then = _since(run, name, baseline, ratio) if decisions else []
        memory = _memory(run, name, limits.memory_growth)
        rows.append((name, [speed, *then, *_product(run, name, baseline.product), memory]))
    if decisions:
        whole.append(_compared("tails", decisions.tails, limits.tail_ratio))
        whole += _peaks(run, limits.peak_memory)
    else:
        notes.append("Without a base there is no A/A control, and tails are held to product limits only.")
    quality = sound.judge(run, selection, votes)
    conditions = (_preflight(run), *_control(decisions), *trust.judge(run), *_limits(loosened, accept_looser))
    notes += [*trust.notes(run), *stages.notes(run), *(_slow_end(run, name) for name in run.candidate.hashes)]
    if conditions[0].code:
        rows = [(name, [_unfit(judgement) for judgement in judgements]) for name, judgements in rows]
        whole = [_unfit(judgement) for judgement in whole]
    judged = tuple(_row(run, name, judgements) for name, judgements in rows)
    said = Verdict(
        rows=judged, whole=tuple(whole), quality=quality, trust=conditions, notes=tuple(notes), code=0
    )
    return said.model_copy(update={"code": worst(one.code for _, one in said.judgements)})


def _compared(question: str, decision: ratio_test.Decision, limit: Limit) -> Judgement:
    """Base against candidate: the decision, and the limit of the ratio held to its one-sided 95 % bounds."""
    threshold = limit.upper - 1
    code = _code(ratio_test.exit_code(decision, threshold))
    bound = f"the 95 % upper bound is {_percent(decision.upper_95)} and the threshold {threshold:+.0%}"
    sentence = decision.reason.removeprefix(f"{decision.verdict.value}: ")
    if decision.verdict is ratio_test.Verdict.UNDECIDED and code == 0:
        sentence += f" It passes: {bound}, so one as large as that is ruled out, a smaller one is not."
    elif decision.verdict is ratio_test.Verdict.UNDECIDED:
        sentence += f" It is no pass: {bound}."
    elif decision.verdict is ratio_test.Verdict.SLOWER and decision.ratio <= limit.upper:
        sentence += " A slow-down that is sure fails below the threshold too."
    outcome = decision.verdict.value
    if decision.ratio > limit.upper:
        over = decision.narrow.low > limit.upper
        code = worst([code, 1 if over else 3])
        if decision.verdict is not ratio_test.Verdict.SLOWER:
            outcome = "OVER LIMIT" if over else "UNDECIDED"
        sentence += f" The ratio {decision.ratio:.3g} is over the limit {limit.upper:g} {_surely(over)}."
    return Judgement(
        question=question,
        outcome=outcome,
        code=code,
        sentence=sentence,
        value=decision.ratio,
        low=decision.wide.low,
        high=decision.wide.high,
        limit=limit.upper,
        unit=limit.unit,
    )


def _recorded(run: Run, name: str, baseline: Baseline, limit: Limit) -> Judgement:
    """Process medians against the recorded samples', where these may be compared at all."""
    entry, said = find_recorded(baseline, run.candidate, name)
    if entry is None:
        held = baseline.product is not None
        return Judgement(
            question="centre",
            outcome="NOT COMPARED" if held else "UNDECIDED",
            code=0 if held else 3,
            sentence=f"{said}. There is no base: {'only limits hold' if held else 'nothing to compare'}.",
        )
    reference = float(np.median([np.median(process) for process in entry.rtf]))
    ratios = [
        float(np.median([call.rtf for call in one.calls])) / reference
        for _, one in run.series("candidate", name)
    ]
    judged = _held("centre", ratio_test.limit_check(ratios, limit.upper), limit)
    return judged.model_copy(update={"sentence": f"{judged.sentence} {said}."})


def _since(run: Run, name: str, baseline: Baseline, limit: Limit) -> list[Judgement]:
    """Beside a base: the recorded samples once more. No control spans two sessions, so it is never sure."""
    if find_recorded(baseline, run.candidate, name)[0] is None:
        return []
    found = _recorded(run, name, baseline, limit)
    if found.code:
        why = "The machine, or what came before the base, may be slower than it was: look, or record again."
        found = found.model_copy(
            update={"outcome": "UNDECIDED", "code": 3, "sentence": f"{found.sentence} {why}"}
        )
    return [found.model_copy(update={"question": "recorded"})]


def _product(run: Run, name: str, limits: ProductLimits | None) -> list[Judgement]:
    """The absolute limits, where the machine has them: mean, worst and CV of the candidate."""
    if limits is None:
        return []
    rtfs = [[call.rtf for call in one.calls] for _, one in run.series("candidate", name)]
    means = [float(np.mean(process)) for process in rtfs]
    spread = _spread(run, name)
    checks = [
        _held("mean RTF", ratio_test.limit_check(means, limits.mean_rtf.upper), limits.mean_rtf),
        _held(
            "worst RTF",
            ratio_test.limit_check([max(c) for c in rtfs], limits.worst_rtf.upper, "worst"),
            limits.worst_rtf,
        ),
    ]
    if len(spread) < 2:
        sentence = "One call in one process has no spread; run more to hold its CV to the limit."
        return [
            *checks,
            Judgement(question="CV", outcome="UNDECIDED", code=3, sentence=sentence, limit=limits.cv.upper),
        ]
    return [*checks, _held("CV", ratio_test.limit_check(spread, limits.cv.upper, "cv"), limits.cv)]


def _memory(run: Run, name: str, limit: Limit) -> Judgement:
    """Growth per call of the candidate's processes, host and device: the steeper is held to the limit."""
    checks = [ratio_test.limit_check(slopes, limit.upper) for slopes in _slopes(run, name)]
    if not checks:
        sentence = f"A growth needs at least {SLOPE_CALLS} calls in a process; run more."
        return Judgement(
            question="memory",
            outcome="UNDECIDED",
            code=3,
            sentence=sentence,
            limit=limit.upper,
            unit=limit.unit,
        )
    hardest = max(checks, key=lambda check: (WORST_LAST.index(_code(check.exit_code)), check.estimate))
    return _held("memory", hardest, limit)


def _peaks(run: Run, limit: Limit) -> list[Judgement]:
    """Peak memory of the candidate's processes against a typical one of the base, host and device."""
    found = []
    for where in ("host", "device"):
        sides: dict[str, list[float]] = {"base": [], "candidate": []}
        for one in run.processes:
            if peak := getattr(one, f"peak_{where}_mb"):
                sides[one.arm].append(peak)
        if all(sides.values()):
            typical = float(np.median(sides["base"]))
            check = ratio_test.limit_check([peak / typical for peak in sides["candidate"]], limit.upper)
            found.append(_held(f"peak memory, {where}", check, limit))
    return found


def _slow_end(run: Run, name: str) -> str:
    """The candidate's 95th percentile and worst call, which a median cannot show."""
    slow = calls.tail([call.rtf for _, one in run.series("candidate", name) for call in one.calls])
    few = "" if slow.enough else f"; from {calls.TAIL_CALLS} calls on a 95th percentile says something"
    return f"{name}: 95th percentile RTF {slow.p95:.3g}, worst {slow.worst:.3g} of {slow.calls} calls{few}"


def _held(question: str, check: ratio_test.LimitCheck, limit: Limit) -> Judgement:
    """A figure held to an upper limit, and to a lower one where given: what is too good is not believed."""
    outcome, code = {0: "WITHIN", 1: "OVER LIMIT", 3: "UNDECIDED"}[check.exit_code], _code(check.exit_code)
    figure = f"{check.estimate:.3g} {limit.unit} against a limit of {limit.upper:g}"
    sentence = f"{figure}: within."
    if code:
        sentence = f"{figure}: over, {_surely(code == 1)}."
    elif limit.lower is not None and check.estimate < limit.lower:
        outcome, code = "UNDECIDED", 3
        sentence = f"{figure}: under {limit.lower:g}, too good to be believed. Check the outputs first."
    return Judgement(
        question=question,
        outcome=outcome,
        code=code,
        sentence=sentence,
        value=check.estimate,
        low=check.lower_95 if np.isfinite(check.lower_95) else None,
        limit=limit.upper,
        unit=limit.unit,
    )


def _surely(over: bool) -> str:
    return (
        "and its one-sided 95 % bound too"
        if over
        else "but its one-sided 95 % bound is not, so more samples must tell"
    )


def _preflight(run: Run) -> Judgement:
    """Whether the machine was fit. Forced, an unfit one is judged all the same, and the record says so."""
    if run.fit:
        return Judgement(
            question=PREFLIGHT, outcome="FIT", code=0, sentence="The machine was fit to measure."
        )
    found = " ".join([one.sentence for one in run.preflight.having("unfit")] + _after_blocks(run))
    if run.forced:
        sentence = f"Unfit, judged by force. {found}"
        return Judgement(question=PREFLIGHT, outcome="FORCED", code=0, sentence=sentence)
    sentence = f"Nothing is decided on an unfit machine. {found}"
    return Judgement(question=PREFLIGHT, outcome="UNFIT", code=3, sentence=sentence)


def _after_blocks(run: Run) -> list[str]:
    """What made the machine unfit half-way: for each check the blocks after which it was seen, and the first
    sight of it."""
    seen: dict[str, list[tuple[int, str]]] = {}
    for after in run.after_blocks:
        for one in after.having("unfit"):
            seen.setdefault(one.check, []).append((after.block + 1, one.sentence))
    return [
        f"After block {', '.join(str(block) for block, _ in found)}: {found[0][1]}" for found in seen.values()
    ]


def _unfit(judgement: Judgement) -> Judgement:
    """The same figures with no verdict: an unfit machine neither passes nor fails."""
    said = f"{judgement.outcome}: {judgement.sentence}"
    sentence = f"Nothing is decided on an unfit machine. On a fit one it would read {said}"
    return judgement.model_copy(update={"outcome": "UNDECIDED", "code": 3, "sentence": sentence})


def _control(decisions: Decisions | None) -> list[Judgement]:
    """What identical code did to the clock; a loud control decides nothing."""
    if decisions is None:
        return []
    loud = {name: one.control for name, one in decisions.centre.items() if not one.control.quiet}
    if loud:
        sentence = " ".join(f"{name}: {control.reason}" for name, control in loud.items())
        return [Judgement(question=CONTROL, outcome="LOUD", code=3, sentence=sentence)]
    noise = max(one.control.noise for one in decisions.centre.values())
    sentence = f"Identical code differed by a CV of {noise:.1%} at most: quiet enough to decide."
    return [Judgement(question=CONTROL, outcome="QUIET", code=0, sentence=sentence, value=noise)]


def _limits(loosened: Sequence[str], accepted: bool) -> list[Judgement]:
    """A baseline that asks for less than the base revision's did fails, unless that was accepted."""
    if not loosened:
        return []
    outcome, code = ("ACCEPTED", _code(0)) if accepted else ("LOOSENED", _code(1))
    return [Judgement(question="limits", outcome=outcome, code=code, sentence="; ".join(loosened) + ".")]


def _row(run: Run, name: str, judgements: Sequence[Judgement]) -> Row:
    rtfs = [[call.rtf for call in one.calls] for _, one in run.series("candidate", name)]
    spread = _spread(run, name)
    slopes = [float(np.mean(slopes)) for slopes in _slopes(run, name)]
    return Row(
        workload=name,
        mean_rtf=float(np.mean([np.mean(process) for process in rtfs])),  # as `_product` judges it
        worst_rtf=max(map(max, rtfs)),
        cv=ratio_test.cv(spread) if len(spread) > 1 else None,
        growth=max(slopes, default=None),
        judgements=tuple(judgements),
        code=worst(judgement.code for judgement in judgements),
    )


def _spread(run: Run, name: str) -> list[float]:
    """What a CV is taken over: the candidate's process medians, or the calls of its only process."""
    rtfs = [[call.rtf for call in one.calls] for _, one in run.series("candidate", name)]
    return [float(np.median(process)) for process in rtfs] if len(rtfs) > 1 else rtfs[0]


def _slopes(run: Run, name: str) -> list[list[float]]:
    """Growth per call [MiB] of each of the candidate's processes: the host's, and the device's if any."""
    long = [one for _, one in run.series("candidate", name) if len(one.calls) >= SLOPE_CALLS]
    host = [[call.host_mb for call in one.calls] for one in long]
    device = [[call.device_mb for call in one.calls if call.device_mb is not None] for one in long]
    groups = (host, [memory for memory in device if len(memory) >= SLOPE_CALLS])
    return [[ratio_test.memory_slope(memory) for memory in group] for group in groups if group]


def _code(value: int) -> ExitCode:
    return cast(ExitCode, value)


def _percent(ratio: float) -> str:
    return f"{ratio - 1:+.1%}"
