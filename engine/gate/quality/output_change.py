"""Whether the candidate's outputs are the base's: every timed request and case, by hash, else by distance.

With the same options on both sides the outputs are the same but for rounding, or the change of code changed
what is heard, which somebody has to want. Toggles that claim to keep the result are held to that; of others
it is told how far they are, and the other questions judge them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from engine.gate.data.outputs import Quality
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Run
from engine.gate.data.verdict import ExitCode, Judgement
from engine.gate.quality import timed

OUTPUT = "output"
Claim = Literal["same options", "lossless", "lossy"]
NAMED = 3


class Compared(NamedTuple):
    """How many requests both arms answered, how many of them with the same bytes, and of the others by name
    how far the outputs are apart (relative mel L2), or why that cannot be said."""

    requests: int
    same: int
    far: Mapping[str, float]
    unknown: Mapping[str, str]


def judge(run: Run, quality: Quality, limits: Limits, claim: Claim, accepted: bool) -> Judgement:
    """The judgement on the outputs of both arms, one by one.

    Args:
        run: with the calls of both arms.
        quality: of the same run.
        limits: how far rounding goes, and how much a length may change.
        claim: what the candidate's options claim.
        accepted: a changed output is wanted (`--accept-changed-output`).
    """
    compared = compare(run, quality)
    changed = {name: f"mel L2 {far:.2g}" for name, far in compared.far.items() if far > limits.lossless_mel}
    changed |= compared.unknown
    faults = _faults(run, quality, limits)
    outcome, code = _decided(compared, bool(changed), claim, accepted)
    if faults:
        outcome, code = "FAULT", 1
    sentence = f"{compared.same} of {compared.requests} outputs are the same, bit for bit"
    if compared.far:
        worst = max(compared.far, key=compared.far.__getitem__)
        sentence += f"; farthest: {worst}, mel L2 {compared.far[worst]:.2g}"
    if compared.unknown:
        sentence += f"; not to be compared: {_listed(compared.unknown)}"
    if faults:
        sentence += f"; faulty: {_listed(faults)}"
    return Judgement(
        topic="sound",
        question=OUTPUT,
        outcome=outcome,
        code=code,
        sentence=f"{sentence}.{_advice(outcome, len(changed))}",
        value=max(compared.far.values(), default=None if compared.unknown else 0.0),
        limit=None if claim == "lossy" else limits.lossless_mel,
        unit="relative mel L2",
    )


def compare(run: Run, quality: Quality) -> Compared:
    """All requests that both arms answered: those that were timed, and the cases."""
    given = {arm: timed.answers(run.processes, arm) for arm in ("base", "candidate")}
    requests = given["base"].keys() & given["candidate"].keys()
    same = sum(given["base"][one][0].output == given["candidate"][one][0].output for one in requests)
    far: dict[str, float] = {}
    unknown: dict[str, str] = {}
    for change in quality.timed:
        name = f"{change.workload} seed {change.seed}"
        if change.mel_l2 is None:
            unknown[name] = str(change.trouble)
        else:
            far[name] = change.mel_l2
    cases = [answer for answer in quality.candidate.judged.values() if answer.kind == "case"]
    for case in cases:
        base = quality.base.judged[case.name]
        if base.output == case.output:
            same += 1
        elif base.audio_seconds != case.audio_seconds:
            unknown[case.name] = "another length"
        elif case.name in quality.distances:
            far[case.name] = quality.distances[case.name].mel_l2
        else:
            unknown[case.name] = "not finite, or too short"
    return Compared(len(requests) + len(cases), same, far, unknown)


def _faults(run: Run, quality: Quality, limits: Limits) -> dict[str, str]:
    """Timed answers of the candidate that hold NaN, or are of quite another length than the base's."""
    faults = {
        f"{change.workload} seed {change.seed}": "NaN or infinity"
        for change in quality.timed
        if change.trouble == "candidate not finite"
    }
    base = timed.answers(run.processes, "base")
    for (workload, seed), calls in timed.answers(run.processes, "candidate").items():
        if (workload, seed) in base:
            longer = calls[0].audio_seconds / base[workload, seed][0].audio_seconds - 1
            if abs(longer) > limits.duration:
                faults[f"{workload} seed {seed}"] = f"{longer:+.1%} of the base's length"
    return faults


def _decided(compared: Compared, changed: bool, claim: Claim, accepted: bool) -> tuple[str, ExitCode]:
    """Outcome and code, faults apart."""
    if compared.same == compared.requests:
        return "SAME", 0
    if claim == "lossy":
        return "REPORTED", 0
    if not changed:
        return "ROUNDING", 0
    if claim == "lossless":
        return "NOT LOSSLESS", 1
    return ("CHANGED, ACCEPTED", 0) if accepted else ("OUTPUT CHANGED", 3)


def _advice(outcome: str, changed: int) -> str:
    """What people should know of a changed output."""
    if outcome == "OUTPUT CHANGED":
        return (
            f" With the same options on both sides {changed} differ by more than rounding: "
            "--accept-changed-output if that is wanted."
        )
    if outcome == "CHANGED, ACCEPTED":
        return f" {changed} differ by more than rounding, which --accept-changed-output accepts."
    return ""


def _listed(remarks: Mapping[str, str]) -> str:
    """`name (remark)`, the first few."""
    parts = [f"{name} ({remark})" for name, remark in remarks.items()]
    return "; ".join(parts[:NAMED]) + f"; {len(parts) - NAMED} more" * (len(parts) > NAMED)
