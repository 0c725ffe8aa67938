"""The verdict on sound: are the outputs honest, and are the candidate's as good as the base's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from engine.errors import BaselineError
from engine.gate.baselines.select import Selection
from engine.gate.data.outputs import Quality
from engine.gate.data.samples import Run
from engine.gate.data.verdict import Judgement
from engine.gate.listening import votes as listening
from engine.gate.listening.votes import Votes
from engine.gate.quality import differences, honesty, output_change
from engine.gate.quality.differences import Pair
from engine.gate.quality.judges.words import languages
from engine.gate.quality.output_change import Claim
from engine.options import Options

QUALITY = "quality"
NOT_JUDGED = Judgement(
    topic="sound",
    question=QUALITY,
    outcome="NOT JUDGED",
    code=0,
    sentence="Quality was not judged: this run says nothing of what was spoken, and skipped work looks fast.",
)


class Acceptance(Protocol):
    """What the user has accepted of a change."""

    @property
    def changed_output(self) -> bool:
        """Whether other outputs with the same options are wanted."""
        ...


def judge(
    run: Run, selection: Selection, accepted: Acceptance, votes: Votes | None = None
) -> tuple[Judgement, ...]:
    """Every question about sound with its answer. Where the run did not look at it: `NOT_JUDGED`, and what
    its calls say of answers from memory.

    Args:
        run: what both arms said, and the judges' scores.
        selection: the baseline, which holds the limits.
        accepted: what the user has accepted.
        votes: of people on the same outputs, if there are any.

    Raises:
        BaselineError: the baseline has no limits of quality.
        VotesError: the votes are on other outputs.
    """
    if run.quality is None:
        return (NOT_JUDGED, *honesty.from_times_alone(run))
    limits = selection.baseline.relative.quality
    if limits is None:
        raise BaselineError(
            f"{selection.path} without relative.quality", "limits of quality", "Copy them from portable.json"
        )
    claimed = claim(run)
    required = selection.baseline.relative.required_judges
    return (
        *honesty.judge(run, run.quality, limits),
        output_change.judge(run, run.quality, limits, claimed, accepted.changed_output),
        *_deaf(run, run.quality, required),
        *differences.compare(pairs(run.quality), limits, lossless=claimed == "lossless"),
        *_people(run.quality, votes, limits.mos_drop),
    )


def claim(run: Run) -> Claim:
    """What the candidate's options claim: those of the base; of the same code, toggles that keep the result;
    or nothing."""
    base, candidate = run.base, run.candidate
    if base is None or base.trained != candidate.trained:
        return "lossy"
    if base.options == candidate.options:
        return "same options"
    if (base.revision, base.dirty) != (candidate.revision, candidate.dirty):
        return "lossy"
    own, other = (Options(**side.options) for side in (candidate, base))  # type: ignore[arg-type]
    return "lossless" if own.only_lossless(other) else "lossy"


def pairs(quality: Quality) -> tuple[Pair, ...]:
    """What the judges said of each case, base beside candidate."""
    return tuple(
        Pair(
            case=name,
            text=answer.text,
            voice=answer.voice,
            base=quality.base.scores[name],
            candidate=quality.candidate.scores[name],
            distance=quality.distances.get(name),
        )
        for name, answer in quality.candidate.judged.items()
    )


def notes(run: Run) -> list[str]:
    """What people should know about the judging: who was missing, what was left out."""
    if run.quality is None:
        return []
    missing = [f"not judged: {judge} ({why})" for judge, why in run.quality.missing.items()]
    skipped: dict[str, list[str]] = {}
    for sentence in run.quality.skipped:
        name, _, why = sentence.partition(": ")
        skipped.setdefault(why, []).append(name)
    return [*missing, *(f"{', '.join(names)}: {why}" for why, names in skipped.items())]


def _deaf(run: Run, quality: Quality, required: Sequence[str]) -> list[Judgement]:
    """Judges that have scored no clip at all, and languages that were spoken and whose words nobody heard.

    Where the baseline requires the judge this is undecided; else it is said.
    """
    if not run.candidate.trained:
        return []
    scored = {
        "words": lambda one: one.words, "speaker": lambda one: one.similarity, "mos": lambda one: one.mos,
    }  # fmt: skip
    scores = list(quality.candidate.scores.values())
    silent = [name for name in required if all(scored[name](one) is None for one in scores)]
    judgements = []
    if silent:
        sentence = f"Required, and no clip was judged by: {', '.join(silent)}."
        judgements.append(
            Judgement(topic="sound", question="judges", outcome="UNDECIDED", code=3, sentence=sentence)
        )
    if "words" not in (*silent, *quality.missing) and (unheard := _unheard(quality)):
        strict = "words" in required
        named = " and ".join(unheard)
        sentence = f"Nobody heard words in {named}: name a recogniser that does (whisper:MODEL)."
        judgements.append(
            Judgement(
                topic="sound",
                question="languages",
                outcome="UNDECIDED" if strict else "NOT JUDGED",
                code=3 if strict else 0,
                sentence=sentence,
            )
        )
    return judgements


def _unheard(quality: Quality) -> list[str]:
    """Languages of what was judged, of which no clip has a word error rate in both arms."""
    spoken: dict[str, bool] = {}
    for name, answer in quality.candidate.judged.items():
        arms = (quality.base.scores[name], quality.candidate.scores[name])
        for language in sorted(languages(answer.text)):
            heard = all(scores.words is not None for scores in arms)
            spoken[language] = spoken.get(language, False) or heard
    return [language for language, heard in spoken.items() if not heard]


def _people(quality: Quality, votes: Votes | None, mos_drop: float) -> list[Judgement]:
    """What people say, once it is sure that they heard these outputs."""
    if votes is None:
        return []
    outputs = [[scores.output for scores in arm.scores.values()] for arm in (quality.candidate, quality.base)]
    votes.check(*outputs)
    return [listening.judge(votes, mos_drop)]
