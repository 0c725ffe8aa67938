"""The verdict on a run: each question judged apart, combined by the worst exit code.

Every number comes from `stats` or `quality`. Here it is only decided which questions are put: change, limits,
drift, sound and trust. 0 pass, 1 regression, 3 undecided. (2, a missing or foreign baseline, was raised.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from engine.gate.baselines.select import Selection
from engine.gate.data.limits import Limit, RelativeLimits
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement, Topic, Verdict
from engine.gate.data.workloads import sha256_of
from engine.gate.listening.votes import Votes
from engine.gate.measure.compare import conclude
from engine.gate.verdict import change, drift, product, sound, trust
from engine.gate.verdict.answers import WITHHELD, answers
from engine.gate.verdict.answers import worst as worst
from engine.gate.verdict.figures import figures

TIMED: tuple[Topic, ...] = ("change", "toggles", "limits", "drift")
"""Topics about times, of which an unfit machine says nothing."""


@dataclasses.dataclass(frozen=True)
class Accepted:
    """What the user has accepted of a change: limits looser than before, other outputs, more work."""

    looser: bool = False
    changed_output: bool = False
    more_work: bool = False


def judge(
    run: Run,
    selection: Selection,
    *,
    loosened: Sequence[str] = (),
    accepted: Accepted | None = None,
    votes: Votes | None = None,
) -> Verdict:
    """The verdict on a run by the selected baseline. Keep it with `run.model_copy(update={"verdict": ...})`.

    Args:
        run: the samples, and the machine's fitness when they were taken.
        selection: from `baselines.select`.
        loosened: from `baselines.loosening`: limits looser than the base revision's. They fail the run unless
            accepted.
        accepted: what passes although it is worse, which is said aloud.
        votes: of people on the outputs of this run.

    Raises:
        BaselineError: the arms spoke different workloads, a recorded workload has changed, or quality was
            measured and the baseline has no limits for it.
        VotesError: the votes are on other outputs.
    """
    run.check_comparable()
    accepted = accepted or Accepted()
    relative = selection.baseline.relative
    ratio = _ratio_limit(run, relative)
    decisions = conclude(run.processes, run.plan) if run.base else None
    compared = _older_base(run) or _has_product(run, selection)
    judgements = [
        *change.judge(run, decisions, relative, ratio, accepted.more_work),
        *product.judge(run, selection),
        *drift.judge(run, selection.baseline, ratio, compared=compared),
    ]
    compared = compared or _drift_compared(run, selection, judgements)
    if not (run.fit or run.forced):
        judgements = [_withheld(judgement) for judgement in judgements]
    judgements += sound.judge(run, selection, accepted, votes)
    judgements += trust.judge(
        run, decisions, _looser(selection, loosened), accept_looser=accepted.looser, compared=compared
    )
    return Verdict(
        answers=answers(run, selection, judgements),
        judgements=tuple(judgements),
        figures=figures(run),
        notes=tuple(_notes(run, selection, accepted, relative, ratio)),
        code=worst(judgement.code for judgement in judgements),
    )


def _ratio_limit(run: Run, relative: RelativeLimits) -> Limit:
    """The limit of the ratio of times: the baseline's, or what `--threshold` put in its place."""
    limit = relative.time_ratio
    return limit if run.threshold is None else Limit(upper=1 + run.threshold, unit=limit.unit)


def _older_base(run: Run) -> bool:
    """Whether the base is other code than the candidate: toggles of one checkout are not older."""
    base, candidate = run.base, run.candidate
    return base is not None and (base.revision, base.dirty) != (candidate.revision, candidate.dirty)


def _has_product(run: Run, selection: Selection) -> bool:
    return selection.product(run.candidate.checkpoint, run.candidate.options) is not None


def _drift_compared(run: Run, selection: Selection, judgements: Sequence[Judgement]) -> bool:
    """Whether recorded sessions of these very conditions were compared."""
    side = run.candidate
    key = (side.checkpoint, sha256_of(side.options))
    comparable = any(
        (session.key, session.versions, session.threads) == (key, side.versions, side.threads)
        for session in selection.baseline.sessions
    )
    return comparable and any(judgement.question == drift.DRIFT for judgement in judgements)


def _withheld(judgement: Judgement) -> Judgement:
    """What an unfit machine showed: its figures, and whether a limit was broken, but no verdict."""
    said = f"{judgement.outcome}: {judgement.sentence}"
    outcome = judgement.outcome if judgement.code == 1 else "UNDECIDED"
    sentence = f"{WITHHELD} On a fit one it would read {said}"
    return judgement.model_copy(update={"outcome": outcome, "code": 3, "sentence": sentence})


def _looser(selection: Selection, loosened: Sequence[str]) -> list[str]:
    """What asks for less than before, and a machine's own file that was passed over."""
    if selection.passed_over is None:
        return [*loosened]
    return [*loosened, f"{selection.passed_over} was passed over for {selection.path}"]


def _notes(
    run: Run, selection: Selection, accepted: Accepted, relative: RelativeLimits, ratio: Limit
) -> list[str]:
    """What is said aloud whatever the outcome."""
    notes = [selection.said, *sound.notes(run)]
    if ratio.upper > relative.time_ratio.upper:
        notes.append(
            f"--threshold raised the limit from {relative.time_ratio.upper:g} to {ratio.upper:g} x base"
        )
    flags = {
        "looser": "--accept-looser: limits may be looser than before",
        "changed_output": "--accept-changed-output: other outputs pass",
        "more_work": "--accept-more-work: more work than the base's passes",
    }
    notes += [said for name, said in flags.items() if getattr(accepted, name)]
    if not run.candidate.trained:
        notes.append(f"{run.candidate.checkpoint} is untrained: its speech is noise")
    return [*notes, *trust.notes(run), *run.notes]
