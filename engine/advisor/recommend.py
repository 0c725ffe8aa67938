"""What to do next to make the engine faster: ranks what was measured, and believes nothing else. Pure.

A toggle's gain is the speed-up that paired trials showed, never more than Amdahl's law allows for the stages
it touches; one that was not proven to have engaged has none. What nobody tried gets Amdahl's bound, and is
called a bound. The best compatible set was run as a whole, and the prediction for it stands beside that.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.advisor.candidates import Candidate, amdahl
from engine.advisor.gains import Gain, measured_gain, noise, predict
from engine.advisor.profiling import Profile
from engine.advisor.recommendation import (
    UNHEARD,
    Bound,
    Combination,
    Findings,
    NextStep,
    Ranked,
    Recommendation,
    Status,
    Trial,
    peak_mb,
    rtfs,
)
from engine.errors import OptionsError, UsageError
from engine.gate.data.verdict import Answer
from engine.options import Options

NOTHING = 0.03
"""A toggle whose whole interval lies within this of 1 does nothing."""
OPERATORS = 5
"""The largest operators, whose bounds are shown."""
ORDER: tuple[Status, ...] = ("faster", "unclear", "sounds worse", "nothing", "slower", "not engaged")


def recommend(
    profile: Profile,
    findings: Findings,
    target: float,
    lacking: Sequence[str] = (),
    now: datetime.datetime | None = None,
) -> Recommendation:
    """The report: ranked rows, bounds, the combination beside its prediction, and what to do next.

    Args:
        profile: of the present configuration.
        findings: what the trials showed; none at all is allowed.
        target: the real-time factor to reach.
        lacking: what this machine is missing, one sentence each (`lacks`).
        now: the time of the report.

    Raises:
        UsageError: the target is no positive number.
    """
    check_numbers(target)
    shown = dataclasses.replace(profile, operators=profile.operators[:OPERATORS], memory=())
    rtf = _present(findings) or profile.rtf
    report = Recommendation(
        timestamp=(now or datetime.datetime.now(datetime.timezone.utc)).isoformat(timespec="seconds"),
        profile=shown,
        findings=findings,
        target=target,
        rtf=rtf,
        required=rtf / target,
        rows=tuple(rank(findings, profile.stages)),
        bounds=tuple(bounds(shown)),
        combination=combined(findings, profile.stages),
        next=NextStep(sentence=""),
        lacking=tuple(lacking),
    )
    return report.model_copy(update={"next": what_next(report)})


def check_numbers(target: float, budget: float = math.inf) -> None:
    """Refuse a target or a budget that cannot be met by anything.

    Raises:
        UsageError: no positive number.
    """
    if not (math.isfinite(target) and target > 0):
        raise UsageError(f"target {target:g}", "a positive real-time factor", "Pass one, such as 0.36")
    if not budget > 0:
        raise UsageError(f"budget {budget:g}", "a positive number of seconds", "Pass one, such as 600")


def _present(findings: Findings) -> float | None:
    """The present configuration's real-time factor: the median of its calls in all trials."""
    calls = [rtf for trial in findings.trials for run in trial.runs for rtf in rtfs(run.base)]
    return float(np.median(calls)) if calls else None


def rank(findings: Findings, stages: Mapping[str, float]) -> list[Ranked]:
    """The trials that spoke, best first: what is faster, what is unclear, and so on in `ORDER`."""
    spoke = [trial for trial in findings.trials if trial.runs]
    spread = noise(spoke)
    rows = [_ranked(trial, measured_gain(trial, spread), stages) for trial in spoke]
    return sorted(rows, key=lambda row: (ORDER.index(row.status), -(row.gain or row.measured), row.name))


def _ranked(trial: Trial, measured: Gain, stages: Mapping[str, float]) -> Ranked:
    """One row; its gain is never more than Amdahl's bound."""
    bound = amdahl(stages, trial.touches, trial.floor)
    gain = Gain(*(min(value, bound) for value in measured))
    engaged, known = not trial.unproven, math.isfinite(measured.high)
    note = "; ".join(f"{option}: {seen}" for option, seen in trial.unproven.items())
    if engaged and measured.mean > bound:
        note = f"measured x{measured.mean:.2f}, more than Amdahl's law allows: counted as the bound"
    present = max(peak_mb(run.base) for run in trial.runs)
    return Ranked(
        name=trial.name,
        status=_status(trial, gain),
        gain=gain.mean if engaged else None,
        low=gain.low if engaged and known else None,
        high=gain.high if engaged and known else None,
        measured=measured.mean,
        bound=bound if math.isfinite(bound) else None,
        runs=len(trial.runs),
        rtf=_rtf(trial),
        memory=max(peak_mb(run.candidate) for run in trial.runs) / present if present else 0.0,
        load_seconds=float(np.median([run.candidate.load_seconds for run in trial.runs])),
        lossless=trial.lossless,
        needs=trial.needs,
        sound=trial.sound,
        note=note,
    )


def _rtf(trial: Trial) -> float:
    """The median real-time factor of a candidate's calls."""
    return float(np.median([rtf for run in trial.runs for rtf in rtfs(run.candidate)]))


def _status(trial: Trial, gain: Gain) -> Status:
    """What the trial showed; an interval without bounds is unclear."""
    if trial.unproven:
        return "not engaged"
    if trial.sound.code == 1:
        return "sounds worse"
    if gain.low > 1 - NOTHING and gain.high < 1 + NOTHING:
        return "nothing"
    return "faster" if gain.low > 1 else "slower" if gain.high < 1 else "unclear"


class Best(NamedTuple):
    """The best compatible set, the candidates that are in it, and the speed-up that they promise together."""

    options: Options
    parts: tuple[Candidate, ...]
    predicted: float


def best_set(
    current: Options,
    candidates: Sequence[Candidate],
    findings: Findings,
    stages: Mapping[str, float],
    required: float,
    works: Callable[[Options], bool] = lambda options: True,
) -> Best | None:
    """Every lossless gain, then lossy ones for as long as the target is not met; None without any gain.

    A lossy toggle is a risk that only a missed target justifies; the surer its sound and the larger its gain,
    the sooner it is taken.

    Args:
        current: the configuration that is to be made faster.
        candidates: what was tried; a row without its candidate is left out.
        findings: their trials.
        stages: of the present configuration, in seconds.
        required: the speed-up that the target asks for.
        works: whether this device can serve a set.
    """
    known, trials = {one.name: one for one in candidates}, {trial.name: trial for trial in findings.trials}
    rows = [row for row in rank(findings, stages) if row.status == "faster" and row.name in known]
    rows.sort(key=lambda row: (not row.lossless, _doubt(row), -(row.gain or 1.0)))
    options, parts, predicted = current, list[Candidate](), 1.0
    for row in rows:
        one = known[row.name]
        if any(one.changes.keys() & other.changes.keys() for other in parts):
            continue
        if not row.lossless and predicted >= required:
            continue
        together = _together(options, one, works)
        promise = predict(stages, [trials[part.name] for part in (*parts, one)])
        if together is not None and promise > predicted:
            options, predicted = together, promise
            parts.append(one)
    return Best(options, tuple(parts), predicted) if parts else None


def _doubt(row: Ranked) -> int:
    """Sure to sound well, then not heard yet, then heard and undecided, then impossible to judge."""
    if _good(row.sound):
        return 0
    return 1 if row.sound == UNHEARD else 2 if row.sound.outcome == "undecided" else 3


def _together(options: Options, one: Candidate, works: Callable[[Options], bool]) -> Options | None:
    """The set with one candidate more; None where they cannot work together."""
    try:
        together = dataclasses.replace(options, **one.changes)
    except OptionsError:
        return None
    return together if works(together) else None


def combined(findings: Findings, stages: Mapping[str, float]) -> Combination | None:
    """The best set as it was run, beside what its parts promised; None where there was none."""
    whole = findings.whole
    if whole is None:
        return None
    trials = {trial.name: trial for trial in findings.trials}
    promised = Combination(
        options=whole.options,
        parts=findings.parts,
        predicted=predict(stages, [trials[part] for part in findings.parts]),
        sound=whole.sound,
    )
    if not whole.runs:
        return promised.model_copy(update={"problem": whole.error or "there was no time left to run it"})
    gain = measured_gain(whole, noise([*findings.trials, whole]))
    known = math.isfinite(gain.high)
    lost = "; ".join(f"{option} did not engage: {seen}" for option, seen in whole.unproven.items())
    return promised.model_copy(
        update={
            "happened": gain.mean,
            "low": gain.low if known else None,
            "high": gain.high if known else None,
            "error": promised.predicted / gain.mean - 1,
            "rtf": _rtf(whole),
            "runs": len(whole.runs),
            "problem": lost,
        }
    )


def bounds(profile: Profile) -> Iterator[Bound]:
    """What nobody tried: each stage, and each of the largest operators, if it took no time at all."""
    whole = sum(profile.stages.values())
    shares = {f"{name} for nothing": seconds / whole for name, seconds in profile.stages.items()}
    shares |= {
        f"{one.name} for nothing": min(1.0, one.share, one.seconds / profile.seconds)
        for one in profile.operators
    }
    for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
        most = amdahl({"it": share, "rest": 1 - share}, ["it"])
        yield Bound(name=name, share=share, bound=most if math.isfinite(most) else None)


def what_next(report: Recommendation) -> NextStep:
    """The next thing to do, with its command."""
    best, present = report.combination, report.findings.options
    if best is not None and best.problem:
        return NextStep(sentence=f"The best set does not work as a whole: {best.problem}")
    if best is not None and best.happened is not None and best.happened > 1:
        if best.sound.code == 1:
            return NextStep(
                sentence=f"The best set sounds worse ({best.sound.sentence}) Hear it before anything else:",
                command=f'ishowtts listen "{best.options}" "{present}" -o listen.html',
            )
        doubt = "" if _good(best.sound) else f" (its sound: {best.sound.outcome})"
        return NextStep(
            sentence=f"Let the gate judge the best set{doubt}, speed and sound:",
            command=f'nox -s perf -- --options "{best.options}" --against-options "{present}"',
        )
    if report.met_by:
        return NextStep(sentence="The target is met as it is; nothing that was tried is surely faster.")
    if not report.findings.trials:
        return NextStep(
            sentence="Nothing was tried yet. Let the toggles be tried:",
            command=f"ishowtts profile --target {report.target:g}",
        )
    return NextStep(
        sentence=f"Nothing that was tried is surely faster; {report.bounds[0].name} would bring most. Again:",
        command=f"ishowtts profile --target {report.target:g} --budget {2 * report.findings.budget:.0f}",
    )


def _good(sound: Answer) -> bool:
    return sound.outcome in ("lossless", "within limits")
