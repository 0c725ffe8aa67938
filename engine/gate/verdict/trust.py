"""Whether a run is what it claims to be: fit machine, quiet control, toggles proven, warm-up over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.gate.data.samples import ARMS, CONTROL, Arm, Observed, Run
from engine.gate.data.verdict import ExitCode, Judgement
from engine.gate.measure.compare import Decisions, mean_curve
from engine.gate.stats.calls import settled

PREFLIGHT, LIMITS, OLDER = "preflight", "looser limits", "older revision"
TOGGLES, WARM_UP, DURATION = "toggles", "warm-up", "duration"
SEEN_BY = {"cfg_strength": "guidance", "guidance_until": "guidance"}
"""Options without evidence of their own, and the one whose evidence looks at them."""
DURATION_MARGIN = 0.02
"""Lengths of audio within this share are the same: they follow from words, clip and speed alone."""
WARM_UP_MARGIN = 0.10
"""A first counted call that is slower than the later ones by more, on average, was warm-up."""
NOTHING_OLDER = (
    "Nothing older than this checkout was looked at, and no limits were held: "
    "this run cannot see a regression."
)


def judge(
    run: Run, decisions: Decisions | None, loosened: Sequence[str], *, accept_looser: bool, compared: bool
) -> list[Judgement]:
    """What can be trusted in a run, and what not.

    Args:
        run: the samples.
        decisions: of `compare.conclude`; None without a base.
        loosened: in which ways the limits ask for less than the base revision's.
        accept_looser: let them.
        compared: whether something older was looked at, or limits were held.
    """
    return [
        *([] if compared else [_judgement(OLDER, "NOTHING COMPARED", 3, NOTHING_OLDER)]),
        _preflight(run),
        *_control(decisions),
        *_toggles(run),
        *_warm_up(run),
        *_durations(run),
        *_limits(loosened, accept_looser),
    ]


def notes(run: Run) -> list[str]:
    """What the outputs say: whether seeds reproduced, and whether both arms gave the same bytes."""
    sentences = []
    for name in run.candidate.hashes:
        outputs = {arm: _outputs(run, arm, name) for arm in ARMS if run.side(arm) is not None}
        for arm, seeds in outputs.items():
            if several := [seed for seed, seen in seeds.items() if len(seen) > 1]:
                count = max(len(seeds[seed]) for seed in several)
                sentences.append(
                    f"{name}: the {arm} gave {count} different outputs for seed {several[0]}; expected one"
                )
        if len(outputs) == len(ARMS) and outputs["base"] == outputs["candidate"]:
            sentences.append(f"{name}: both arms gave the same samples, bit for bit")
    return sentences


def _outputs(run: Run, arm: Arm, name: str) -> dict[int, set[str]]:
    """What one arm said of one workload, by seed."""
    outputs: dict[int, set[str]] = {}
    for calls in run.calls(arm, name):
        for call in calls:
            outputs.setdefault(call.seed, set()).add(call.output)
    return outputs


def _preflight(run: Run) -> Judgement:
    """Whether the machine was fit. Forced, an unfit one is judged all the same, and the record says so."""
    if run.fit:
        return _judgement(PREFLIGHT, "FIT", 0, "The machine was fit to measure.")
    findings = " ".join([each.sentence for each in run.preflight.having("unfit")] + _after_blocks(run))
    if run.forced:
        return _judgement(PREFLIGHT, "FORCED", 0, f"Unfit, judged by force. {findings}")
    return _judgement(PREFLIGHT, "UNFIT", 3, f"Nothing is decided on an unfit machine. {findings}")


def _after_blocks(run: Run) -> list[str]:
    """What made the machine unfit half-way: for each check the blocks after which it was seen, and the first
    sight of it."""
    seen: dict[str, list[tuple[int, str]]] = {}
    for after in run.after_blocks:
        for finding in after.having("unfit"):
            seen.setdefault(finding.check, []).append((after.block + 1, finding.sentence))
    return [
        f"After block {', '.join(str(block) for block, _ in blocks)}: {blocks[0][1]}"
        for blocks in seen.values()
    ]


def _control(decisions: Decisions | None) -> list[Judgement]:
    """What identical code did to the clock, and how small a change this run could have seen."""
    if decisions is None:
        return []
    loud = {name: each.control for name, each in decisions.centre.items() if not each.control.quiet}
    if loud:
        sentence = " ".join(f"{name}: {control.reason}" for name, control in loud.items())
        return [_judgement(CONTROL, "LOUD", 3, sentence)]
    noises = [each.control.noise for each in decisions.centre.values() if each.control.noise is not None]
    seen = max(each.wide.high / each.ratio - 1 for each in decisions.centre.values())
    reach = (
        f"this run sees a change of {seen:.1%} or more for sure"
        if np.isfinite(seen)
        else "one block decides little"
    )
    if not noises:
        return [_judgement(CONTROL, "QUIET", 0, f"One process an arm has no twin; {reach}.")]
    sentence = f"Identical code differed by a CV of {max(noises):.1%} at most; {reach}."
    control = _judgement(CONTROL, "QUIET", 0, sentence)
    return [control.model_copy(update={"value": max(noises), "unit": "ratio"})]


def _toggles(run: Run) -> list[Judgement]:
    """One judgement per toggle that failed its proof. In the base it makes the comparison moot."""
    failed, unproven = [], []
    for arm in ARMS:
        side, evidence = run.side(arm), _evidence(run, arm)
        options = [] if side is None else [*side.options]
        failed += [_silent(arm, option) for option in options if SEEN_BY.get(option, option) not in evidence]
        for toggle, seen in evidence.items():
            if refuted := [each for each in seen if each.proven is False]:
                failed.append(_refuted(arm, toggle, refuted[0].observed))
            elif all(each.proven is None for each in seen):
                unproven.append((arm, toggle, seen[0].observed))
    failed += [_unproven(*each) for each in unproven]
    if failed:
        return failed
    return [_judgement(TOGGLES, "ENGAGED", 0, "What was observed agrees with every option.")]


def _evidence(run: Run, arm: Arm) -> dict[str, list[Observed]]:
    """What the processes of one arm observed, by toggle."""
    evidence: dict[str, list[Observed]] = {}
    for process in run.processes:
        if process.arm == arm:
            for toggle, seen in process.evidence.items():
                evidence.setdefault(toggle, []).append(seen)
    return evidence


def _refuted(arm: Arm, toggle: str, observed: str) -> Judgement:
    sentence = f"What {toggle} did in the {arm} is not what its option says: {observed}."
    return _judgement(f"toggle {toggle}", "NOT ENGAGED", 1 if arm == "candidate" else 3, sentence)


def _silent(arm: Arm, option: str) -> Judgement:
    sentence = f"{option} is on in the {arm}, and no evidence of it was given."
    return _judgement(f"toggle {option}", "NO EVIDENCE", 3, sentence)


def _unproven(arm: Arm, toggle: str, observed: str) -> Judgement:
    """A toggle of the candidate that nobody saw at work is no pass; of the base it is said."""
    sentence = f"Nothing could be observed of {toggle} in the {arm}: {observed}."
    return _judgement(f"toggle {toggle}", "UNPROVEN", 3 if arm == "candidate" else 0, sentence)


def _warm_up(run: Run) -> list[Judgement]:
    """Whether the fixed number of warm-up calls was enough, by the mean curve of all processes of an arm."""
    cold = []
    for arm in ARMS:
        processes = [process for process in run.processes if process.arm == arm]
        for name in run.candidate.hashes if processes else ():
            curve = mean_curve(processes, name)
            excess = float(curve[0] / np.median(curve[1:])) - 1 if curve.size > 1 else 0.0
            if excess > WARM_UP_MARGIN and not settled(curve):
                cold.append(f"{name} of the {arm}: {excess:+.0%}")
    if not cold:
        return []
    sentence = (
        f"The first counted call is slower than the later ones ({', '.join(cold)}): warm-up was counted."
    )
    return [_judgement(WARM_UP, "COUNTED", 3, sentence)]


def _durations(run: Run) -> list[Judgement]:
    """A candidate that speaks for longer or shorter than the base did not do the same work."""
    judgements = []
    for name in run.candidate.hashes if run.base is not None else ():
        base, candidate = (
            float(np.median([call.audio_seconds for calls in run.calls(arm, name) for call in calls]))
            for arm in ARMS
        )
        if abs(candidate / base - 1) > DURATION_MARGIN:
            lengths = f"{candidate:.2f} s in the candidate and {base:.2f} s in the base"
            judgements.append(
                Judgement(
                    topic="trust",
                    question=DURATION,
                    workload=name,
                    outcome="CHANGED",
                    code=1,
                    sentence=f"{name} lasts {lengths}: words were lost or added.",
                    value=candidate,
                    base=base,
                    limit=base * (1 + DURATION_MARGIN),
                    unit="s",
                )
            )
    return judgements


def _limits(loosened: Sequence[str], accepted: bool) -> list[Judgement]:
    """A baseline that asks for less than the base revision's did fails, unless that was accepted."""
    if not loosened:
        return []
    sentence = "; ".join(loosened) + "."
    if accepted:
        return [_judgement(LIMITS, "ACCEPTED", 0, f"{sentence} Accepted by --accept-looser.")]
    return [_judgement(LIMITS, "LOOSENED", 1, f"{sentence} If that is meant, say --accept-looser.")]


def _judgement(question: str, outcome: str, code: ExitCode, sentence: str) -> Judgement:
    return Judgement(topic="trust", question=question, outcome=outcome, code=code, sentence=sentence)
