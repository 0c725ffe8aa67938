"""The absolute limits: those of the product, on the machine and with the options that they belong to.

No limit is ever held to another model. Growth of memory has a limit on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.gate.baselines.select import Selection
from engine.gate.data.limits import Limit, ProductLimits
from engine.gate.data.samples import Arm, Run
from engine.gate.data.verdict import Judgement
from engine.gate.stats.limits import Growth, cv, cv_check, growth_check, limit_check
from engine.gate.verdict.bounds import OUTCOMES, band_of, held

MEAN, WORST, CV, NOISE, GROWTH = "mean RTF", "worst RTF", "CV", "noise between processes", "memory growth"
PRODUCT = "product"


def judge(run: Run, selection: Selection) -> list[Judgement]:
    """Mean, worst, CV, growth, peak, first call and load of the candidate, where they have limits."""
    product = selection.product(run.candidate.checkpoint, run.candidate.options)
    limits = product.limits if product else None
    judgements = [] if product else _unlimited(run, selection)
    for name in run.candidate.hashes:
        if limits:
            judgements += _times(run, name, limits)
        judgements += _noise(run, name)
        judgements.append(_growth(run, name, _growth_limit(selection, limits)))
    return judgements + (_processes(run, limits) if limits else [])


def _unlimited(run: Run, selection: Selection) -> list[Judgement]:
    """A model without limits on a machine that has some is no pass where limits were asked for."""
    asked = "limits" in run.questions
    side = run.candidate
    options = " ".join(f"{name}={value}" for name, value in side.options.items()) or "reference"
    named = ", ".join(f"{each.checkpoint} ({each.options})" for each in selection.baseline.products)
    if named:
        sentence = (
            f"{run.machine_key} has limits for {named} and none for {side.checkpoint} ({options}): nothing "
            "was held, and no limit is ever judged on another model."
        )
    elif asked:
        sentence = f"No product is named for {run.machine_key}: only growth of memory has a limit here."
    else:
        return []
    return [
        Judgement(
            topic="limits",
            question=PRODUCT,
            outcome="NO LIMITS",
            code=3 if named and asked else 0,
            sentence=sentence,
        )
    ]


def _times(run: Run, name: str, limits: ProductLimits) -> list[Judgement]:
    """Mean and worst RTF, which fail on the figure as it is, and the CV over all calls."""
    rtfs = _rtfs(run, "candidate", name)
    means = limit_check([float(np.mean(process)) for process in rtfs], limits.mean_rtf.upper)
    worst = limit_check([max(process) for process in rtfs], limits.worst_rtf.upper, "worst")
    mean = held("limits", MEAN, means, limits.mean_rtf, name)
    pace = f" It is {1 / means.estimate:.1f} x real time."
    calls = [rtf for process in rtfs for rtf in process]
    judgements = [
        mean.model_copy(update={"sentence": mean.sentence + pace}),
        held("limits", WORST, worst, limits.worst_rtf, name),
    ]
    if len(calls) < 2:
        sentence = "One call has no spread; make more to hold their CV to the limit."
        spread = Judgement(
            topic="limits", question=CV, workload=name, outcome="UNDECIDED", code=3, sentence=sentence,
            limit=limits.cv.upper, unit=limits.cv.unit,
        )  # fmt: skip
    else:
        spread = held("limits", CV, cv_check(calls, limits.cv.upper), limits.cv, name)
        spread = spread.model_copy(
            update={"sentence": f"{spread.sentence} It is over all {len(calls)} calls."}
        )
    return [_beside(run, each) for each in (*judgements, spread)]


def _noise(run: Run, name: str) -> list[Judgement]:
    """How much processes of the candidate differ: the noise of the measurement, not of the product."""
    medians = [float(np.median(process)) for process in _rtfs(run, "candidate", name)]
    if len(medians) < 2 or "limits" not in run.questions:
        return []
    noise = cv(medians)
    sentence = (
        f"The medians of {len(medians)} processes have a CV of {noise:.1%}: the noise of the measurement."
    )
    return [
        Judgement(
            topic="limits", question=NOISE, workload=name, outcome="REPORTED", code=0, sentence=sentence,
            value=noise, unit="ratio",
        )
    ]  # fmt: skip


def _growth_limit(selection: Selection, limits: ProductLimits | None) -> Limit:
    """The stricter of the product's and everybody's limit of growth."""
    shared = selection.baseline.relative.memory_growth
    own = limits.memory_growth if limits else shared
    return min(shared, own, key=lambda limit: limit.upper)


def _growth(run: Run, name: str, limit: Limit) -> Judgement:
    """Growth of memory of the candidate's processes, host and device: the harder of the two is told."""
    checks = [
        (where, check)
        for where in ("host", "device")
        if (check := _grown(run, name, where, limit.upper)) is not None
    ]
    if not checks:
        sentence = "No process made three calls, so nothing is known of growth; make more."
        return Judgement(
            topic="limits", question=GROWTH, workload=name, outcome="UNDECIDED", code=3, sentence=sentence,
            limit=limit.upper, unit=limit.unit,
        )  # fmt: skip
    where, check = max(checks, key=lambda each: ((0, 3, 1).index(each[1].exit_code), each[1].estimate))
    return Judgement(
        topic="limits",
        question=GROWTH,
        workload=name,
        outcome={0: "STEADY", 1: "GROWS", 3: OUTCOMES[3]}[check.exit_code],
        code=check.exit_code,
        sentence=_growth_sentence(where, check, limit),
        value=check.estimate,
        low=check.lower if np.isfinite(check.lower) else None,
        limit=check.limit,
        base=_base_growth(run, name, where),
        unit=limit.unit,
        band=band_of(check.estimate, limit),
    )


def _grown(run: Run, name: str, where: str, limit: float) -> Growth | None:
    return growth_check(_memory(run, "candidate", name, where), limit, _memory(run, "base", name, where))


def _growth_sentence(where: str, check: Growth, limit: Limit) -> str:
    judged = f"judged in {check.judged} of {check.processes} processes"
    grown = f"{where} memory {check.estimate:+.3f} {limit.unit}"
    if check.exit_code == 0:
        return f"{grown}, {judged}: no growth that is sure."
    if check.exit_code == 3:
        return f"{grown}, {judged}: too few calls to tell growth from a single step; make more."
    if check.estimate > limit.upper:
        return f"{grown}, {judged}: over the limit of {limit.upper:g}."
    return (
        f"{grown}, surely more than {check.lower:+.3f}, {judged}: memory grows. "
        f"More than {check.limit:.3g} a call fails where it is sure."
    )


def _memory(run: Run, arm: Arm, name: str, where: str) -> list[list[float]]:
    """MiB after each call of each process; a process that did not see its device's memory has none."""
    return [
        [megabytes for call in calls if (megabytes := getattr(call, f"{where}_mb")) is not None]
        for calls in run.calls(arm, name)
        if where == "host" or any(call.device_mb is not None for call in calls)
    ]


def _base_growth(run: Run, name: str, where: str) -> float | None:
    check = growth_check(_memory(run, "base", name, where), np.finfo(float).max)
    return None if check is None else check.estimate


def _processes(run: Run, limits: ProductLimits) -> list[Judgement]:
    """Peak memory, first call and load of the candidate's processes, each where it has a limit."""
    own = [process for process in run.processes if process.arm == "candidate"]
    figures: Sequence[tuple[str, Limit | None, Sequence[float | None]]] = [
        ("peak memory, host", limits.peak_memory_mb, [each.peak_host_mb for each in own]),
        ("peak memory, device", limits.peak_memory_mb, [each.peak_device_mb for each in own]),
        ("first call", limits.first_call_seconds, [each.first_call_seconds for each in own]),
        ("load", limits.load_seconds, [each.load_seconds for each in own]),
    ]
    judgements = []
    for question, limit, seen in figures:
        values = [value for value in seen if value]
        if limit is not None and values:
            check = limit_check(values, limit.upper, "worst" if question.startswith("peak") else "mean")
            judgements.append(held("limits", question, check, limit))
    return judgements


def _beside(run: Run, judgement: Judgement) -> Judgement:
    """The judgement with the base's own figure, where there is a base."""
    rtfs = _rtfs(run, "base", judgement.workload)
    calls = [rtf for process in rtfs for rtf in process]
    if len(calls) < 2:
        return judgement
    figures = {MEAN: float(np.mean([np.mean(process) for process in rtfs])), WORST: max(calls), CV: cv(calls)}
    return judgement.model_copy(update={"base": figures[judgement.question]})


def _rtfs(run: Run, arm: Arm, name: str) -> list[list[float]]:
    return [[call.rtf for call in calls] for calls in run.calls(arm, name)]
