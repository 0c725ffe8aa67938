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
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.advisor.candidates import Candidate, amdahl
from engine.advisor.gains import Gain, Noise, measured_gain, predict
from engine.advisor.recommend_record import (
    UNHEARD,
    Bound,
    Check,
    Facts,
    Findings,
    Next,
    Operator,
    Report,
    Row,
    Sound,
    Status,
    Trial,
)
from engine.errors import OptionsError, UsageError
from engine.options import Options

if TYPE_CHECKING:
    from engine.advisor.profiling import Profile

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
) -> Report:
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
    facts, rows = summary(profile), rank(findings, profile.stages)
    rtf = _present(findings) or profile.rtf
    check = checked(findings, profile.stages)
    found = Report(
        timestamp=(now or datetime.datetime.now(datetime.timezone.utc)).isoformat(timespec="seconds"),
        facts=facts,
        findings=findings,
        target=target,
        rtf=rtf,
        required=rtf / target,
        rows=tuple(rows),
        bounds=tuple(bounds(facts)),
        check=check,
        next=Next(sentence=""),
        lacking=tuple(lacking),
    )
    return found.model_copy(update={"next": what_next(found)})


def check_numbers(target: float, budget: float = math.inf) -> None:
    """Refuse a target or a budget that cannot be met by anything.

    Raises:
        UsageError: no positive number.
    """
    if not (math.isfinite(target) and target > 0):
        raise UsageError(f"target {target:g}", "a positive real-time factor", "Pass one, such as 0.36")
    if not budget > 0:
        raise UsageError(f"budget {budget:g}", "a positive number of seconds", "Pass one, such as 600")


def summary(profile: Profile) -> Facts:
    """What the report shows of a profile."""
    largest = profile.operators[:OPERATORS]
    return Facts(
        checkpoint=profile.checkpoint,
        machine=profile.machine,
        text=profile.text,
        audio_seconds=profile.audio_seconds,
        seconds=profile.seconds,
        rtf=profile.rtf,
        stages={name: max(0.0, seconds) for name, seconds in profile.stages.items()},
        operators=tuple(Operator(**dataclasses.asdict(one)) for one in largest),
        peak_mb=profile.peak_mb,
    )


def _present(findings: Findings) -> float | None:
    """The present configuration's real-time factor: the median of its calls in all trials."""
    calls = [rtf for trial in findings.trials for sitting in trial.sittings for rtf in sitting.current]
    return float(np.median(calls)) if calls else None


def rank(findings: Findings, stages: Mapping[str, float]) -> list[Row]:
    """The trials that spoke, best first: what is faster, what is unclear, and so on in `ORDER`."""
    spoke = [trial for trial in findings.trials if trial.sittings]
    noise = Noise.of(trial.sittings for trial in spoke)
    rows = [_row(trial, noise, stages, findings.peak_mb) for trial in spoke]
    return sorted(rows, key=lambda row: (ORDER.index(row.status), -(row.gain or row.measured), row.name))


def _row(trial: Trial, noise: Noise, stages: Mapping[str, float], peak_mb: float) -> Row:
    raw = measured_gain(trial.sittings, noise)
    bound = amdahl(stages, trial.touches, trial.floor)
    gain = Gain(*(min(value, bound) if not math.isnan(value) else value for value in raw))
    engaged = not trial.unproven
    note = "; ".join(f"{option}: {seen}" for option, seen in trial.unproven.items())
    if engaged and raw.mean > bound:
        note = f"measured x{raw.mean:.2f}, more than Amdahl's law allows: counted as the bound"
    return Row(
        name=trial.name,
        status=_status(trial, gain, noise.between_df > 0),
        gain=gain.mean if engaged else None,
        low=gain.low if engaged and not math.isnan(gain.low) else None,
        high=gain.high if engaged and not math.isnan(gain.high) else None,
        measured=raw.mean,
        bound=bound if math.isfinite(bound) else None,
        processes=len(trial.sittings),
        rtf=float(np.median([rtf for sitting in trial.sittings for rtf in sitting.rtfs])),
        memory=max(sitting.peak_mb for sitting in trial.sittings) / peak_mb if peak_mb else 0.0,
        load_seconds=float(np.median([sitting.load_seconds for sitting in trial.sittings])),
        lossless=trial.lossless,
        needs=trial.needs,
        sound=trial.sound,
        note=note,
    )


def _status(trial: Trial, gain: Gain, sure: bool) -> Status:
    if trial.unproven:
        return "not engaged"
    if trial.sound.code == 1:
        return "sounds worse"
    if not sure:
        return "unclear"  # one process each: pairs in it do not say how processes differ
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


def _doubt(row: Row) -> int:
    """Sure to sound well, then not heard yet, then heard and undecided, then impossible to judge."""
    if _good(row.sound):
        return 0
    return 1 if row.sound == UNHEARD else 2 if row.sound.heard == "undecided" else 3


def _together(options: Options, one: Candidate, works: Callable[[Options], bool]) -> Options | None:
    """The set with one candidate more; None where they cannot work together."""
    try:
        together = dataclasses.replace(options, **one.changes)
    except OptionsError:
        return None
    return together if works(together) else None


def checked(findings: Findings, stages: Mapping[str, float]) -> Check | None:
    """The combination as it was run, beside what its parts promised; None where there was none."""
    whole = findings.combination
    if whole is None:
        return None
    trials = {trial.name: trial for trial in findings.trials}
    promised = Check(
        options=whole.options,
        parts=findings.parts,
        predicted=predict(stages, [trials[part] for part in findings.parts]),
        sound=whole.sound,
    )
    if not whole.sittings:
        return promised.model_copy(update={"problem": whole.error or "there was no time left to run it"})
    noise = Noise.of([*(trial.sittings for trial in findings.trials if trial.sittings), whole.sittings])
    gain = measured_gain(whole.sittings, noise)
    known = not math.isnan(gain.low)
    lost = "; ".join(f"{option} did not engage: {seen}" for option, seen in whole.unproven.items())
    return promised.model_copy(
        update={
            "happened": gain.mean,
            "low": gain.low if known else None,
            "high": gain.high if known else None,
            "error": promised.predicted / gain.mean - 1,
            "rtf": float(np.median([rtf for sitting in whole.sittings for rtf in sitting.rtfs])),
            "processes": len(whole.sittings),
            "problem": lost,
        }
    )


def bounds(facts: Facts) -> Iterator[Bound]:
    """What nobody tried: each stage, and each of the largest operators, if it took no time at all."""
    whole = sum(facts.stages.values())
    shares = {f"{name} for nothing": seconds / whole for name, seconds in facts.stages.items()}
    shares |= {
        f"{one.name} for nothing": min(1.0, one.share, one.seconds / facts.seconds) for one in facts.operators
    }
    for name, share in sorted(shares.items(), key=lambda pair: -pair[1]):
        most = amdahl({"it": share, "rest": 1 - share}, ["it"])
        yield Bound(name=name, share=share, bound=most if math.isfinite(most) else None)


def what_next(report: Report) -> Next:
    """The next thing to do, with its command."""
    check, present = report.check, report.findings.options
    if check is not None and check.happened is not None and not check.problem and check.happened > 1:
        if check.sound.code == 1:
            return Next(
                sentence=f"The best set sounds worse ({check.sound.sentence}) Hear it before anything else:",
                command=f'ishowtts listen "{check.options}" "{present}" -o listen.html',
            )
        doubt = "" if _good(check.sound) else f" (its sound: {check.sound.heard})"
        return Next(
            sentence=f"Let the gate judge the best set{doubt}, speed and sound:",
            command=f'nox -s perf -- --options "{check.options}" --against-options "{present}"',
        )
    if check is not None and check.problem:
        return Next(sentence=f"The best set does not work as a whole: {check.problem}")
    if report.met_by:
        return Next(sentence="The target is met as it is; nothing that was tried is surely faster.")
    if not report.findings.trials:
        return Next(
            sentence="Nothing was tried yet. Let the toggles be tried:",
            command=f"ishowtts profile --target {report.target:g}",
        )
    return Next(
        sentence=f"Nothing that was tried is surely faster; {report.bounds[0].name} would bring most. Again:",
        command=f"ishowtts profile --target {report.target:g} --budget {2 * report.findings.budget:.0f}",
    )


def _good(sound: Sound) -> bool:
    return sound.heard in ("lossless", "within limits")
