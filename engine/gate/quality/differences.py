"""Base against candidate in quality: paired by case, each question answered by a limit or an interval.

Hard questions look at every clip: a NaN, a click or a wrong length in one is a fault, whatever the others are
like, so their limits lie beyond anything that clean speech does. Paired questions look at the mean over
cases, because single clips are noisy (`paired`); one clip that is worse beyond all chance fails them too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from engine.errors import UsageError
from engine.gate.data.quality_limits import Limits as Limits
from engine.gate.data.scores import Distances, Scores, WordErrors
from engine.gate.data.verdict import ExitCode, Judgement
from engine.gate.data.workloads import Frozen, Name
from engine.gate.quality import clip_faults
from engine.gate.quality.judges.words import plain
from engine.gate.stats.paired import ALPHA, HOPELESS, Estimate, estimate, needed

QUESTIONS = ("distance", "signal", "duration", "CER", "WER", "dropped words", "speaker", "MOS")
"""The `Judgement.question`s of `compare`, in order; each is always answered, if only with NOT JUDGED."""
FAMILY = 5
"""Questions answered by an interval; they share the chance of a false alarm."""
ENDING_LOST = 0.06
"""Share of sound clips, generously, whose last word is not heard although it was in the base."""
NAMED = 3
"""Faults and reasons that a sentence names; the rest are counted."""


class Pair(Frozen):
    """One case spoken by both arms. `distance` only where both drew the same noise."""

    case: Name
    text: str
    voice: Name
    base: Scores
    candidate: Scores
    distance: Distances | None = None


def compare(pairs: Sequence[Pair], limits: Limits, *, lossless: bool) -> tuple[Judgement, ...]:
    """Answer QUESTIONS in order: code 0 for a pass or what cannot be judged, 1 worse, 3 undecided.

    Args:
        pairs: one a case.
        lossless: the candidate's options claim to keep the result (`Options.only_lossless`), so the distance
            is held to its limit too; else it is only reported.

    Raises:
        UsageError: no pairs, or a case twice.
    """
    if not pairs:
        raise UsageError("no pairs", "at least one case spoken by both arms", "Speak the pinned texts")
    if twice := [case for case, count in Counter(pair.case for pair in pairs).items() if count > 1]:
        raise UsageError(f"case {twice[0]!r} twice", "one pair a case", "Pair by case")
    return (
        _distance(pairs, limits, lossless),
        _signal(pairs, limits),
        _duration(pairs, limits),
        _errors("CER", pairs, limits.cer_rise, "characters", limits.clip_cer_rise),
        _errors("WER", pairs, limits.wer_rise, "words"),
        _errors("dropped words", pairs, limits.dropped_rise, "words"),
        _speaker(pairs, limits),
        _mos(pairs, limits),
    )


def _distance(pairs: Sequence[Pair], limits: Limits, lossless: bool) -> Judgement:
    """Same noise: how far the candidate's outputs are from the base's."""
    same = sum(pair.base.output == pair.candidate.output for pair in pairs)
    far = {pair.case: pair.distance for pair in pairs if pair.distance is not None}
    blind = len(pairs) - len(far.keys() | {p.case for p in pairs if p.base.output == p.candidate.output})
    sentence = f"{same} of {len(pairs)} outputs are the same, bit for bit."
    value = max((found.mel_l2 for found in far.values()), default=0.0)
    if far:
        worst = max(far, key=lambda case: far[case].mel_l2)
        closest = f"mel L2 {value:.2g}, MCD {far[worst].mcd_db:.2g} dB, SI-SDR {far[worst].si_sdr_db:.3g} dB"
        sentence += f" Farthest: {worst} with {closest}."
    if blind:
        sentence += f" {blind} cannot be compared: other noise, or no finite samples."
    code: ExitCode = 1 if lossless and value > limits.lossless_mel else 3 if lossless and blind else 0
    outcome = {1: "NOT LOSSLESS", 3: "UNDECIDED", 0: "LOSSLESS" if lossless else "REPORTED"}[code]
    if not lossless and blind == len(pairs):
        outcome = "NOT JUDGED"
    return Judgement(
        topic="sound",
        question="distance",
        outcome=outcome,
        code=code,
        sentence=sentence,
        value=None if blind == len(pairs) else value,
        limit=limits.lossless_mel if lossless else None,
        unit="relative mel L2",
    )


def _signal(pairs: Sequence[Pair], limits: Limits) -> Judgement:
    """Each wave by itself. A base that is no sound wave is no measure for the candidate."""
    said = _hard("signal", pairs, lambda pair: clip_faults.in_signal(pair.base, pair.candidate, limits))
    broken = {pair.case: "NaN or infinity" for pair in pairs if not pair.base.signal.finite}
    if said.code or not broken:
        return said
    sentence = f"The base itself is broken: {_listed(broken)}."
    return said.model_copy(update={"outcome": "UNDECIDED", "code": 3, "sentence": sentence})


def _hard(question: str, pairs: Sequence[Pair], look: Callable[[Pair], str]) -> Judgement:
    """A question that every clip must pass: `look` says what is wrong with one, or nothing."""
    faults = {pair.case: fault for pair in pairs if (fault := look(pair))}
    if faults:
        said = f"{len(faults)} of {len(pairs)} clips are faulty: {_listed(faults)}."
        return Judgement(topic="sound", question=question, outcome="FAULT", code=1, sentence=said)
    said = f"No fault in any of {len(pairs)} clips."
    return Judgement(topic="sound", question=question, outcome="WITHIN", code=0, sentence=said)


def _duration(pairs: Sequence[Pair], limits: Limits) -> Judgement:
    """Length follows from text, clip and speed: a clip of another length says other words, or skips some."""
    changes = {pair.case: clip_faults.length_change(pair.base, pair.candidate) for pair in pairs}
    worst = max(changes.values(), key=abs)
    said = _hard("duration", pairs, lambda pair: _too_far(changes[pair.case], limits.duration))
    odd = {
        pair.case: rate for pair in pairs if (rate := clip_faults.odd_rate(pair.text, pair.candidate.seconds))
    }
    aloud = f" Hard to believe, but so is the base: {_listed(odd)}." if odd and not said.code else ""
    return said.model_copy(
        update={
            "sentence": said.sentence + aloud,
            "value": worst if math.isfinite(worst) else None,
            "limit": limits.duration,
            "unit": "relative to the base",
        }
    )


def _too_far(change: float, limit: float) -> str:
    return f"{change:+.1%} of the base's length" if abs(change) > limit else ""


class _Paired(NamedTuple):
    """One question over the cases: differences (positive: worse), what was not judged, faulty clips."""

    question: str
    unit: str
    limit: float
    differences: Mapping[str, float]
    not_judged: Mapping[str, str]
    faults: Mapping[str, str]


def _errors(
    question: str, pairs: Sequence[Pair], limit: float, unit: str, clip_limit: float = math.inf
) -> Judgement:
    """Error rates of the whole set: a clip counts by its length, so that one word more is one word more."""
    count = _COUNTS[question]
    counts = {
        pair.case: (count(pair.base.words), count(pair.candidate.words))
        for pair in pairs
        if pair.base.words is not None and pair.candidate.words is not None
    }
    mean = float(np.mean([whole for (_, whole), _ in counts.values()])) if counts else 1.0
    faults = {}
    for case, ((before, whole), (after, _)) in counts.items():
        if (after - before) / whole > clip_limit:
            faults[case] = f"{(after - before) / whole:+.0%} of its {unit} wrong"
    if question == "dropped words":
        faults = _lost_endings(pairs)
    differences = {case: (after - before) / mean for case, ((before, _), (after, _)) in counts.items()}
    asked = _Paired(question, f"of {unit}", limit, differences, _reasons(pairs, "words", counts), faults)
    return _answer(asked, only_with_power=question == "WER")


def _lost_endings(pairs: Sequence[Pair]) -> dict[str, str]:
    """Cases whose last word the candidate lacks and the base has, where they are too many to be chance.

    One word of a set is soon lost among the others; speech that stops too early always loses the same one.
    """
    heard = [(pair, pair.base.words, pair.candidate.words) for pair in pairs]
    judged = [(pair, base, found) for pair, base, found in heard if base is not None and found is not None]
    endings = {pair.case: plain(pair.text)[-1:] for pair, _, _ in judged}
    lost = {
        pair.case: f"without its last word, {endings[pair.case][0]!r}"
        for pair, base, found in judged
        if set(endings[pair.case]) & (set(found.dropped) - set(base.dropped))
    }
    chance = special.bdtrc(len(lost) - 1, len(judged), ENDING_LOST) if lost else 1.0
    return lost if chance < ALPHA / FAMILY else {}


_COUNTS: Mapping[str, Callable[[WordErrors], tuple[int, int]]] = {
    "CER": lambda errors: (errors.char_edits, errors.chars),
    "WER": lambda errors: (errors.word_edits, errors.words),
    "dropped words": lambda errors: (len(errors.dropped), errors.words),
}
"""Errors and how many there could be, of one clip."""


def _speaker(pairs: Sequence[Pair], limits: Limits) -> Judgement:
    """Cosine to the clip of the voice that should speak."""
    differences, faults = {}, {}
    for pair in pairs:
        before, after = pair.base.similarity, pair.candidate.similarity
        if before is None or after is None:
            continue
        differences[pair.case] = before - after
        if fault := clip_faults.wrong_voice(pair.base, pair.candidate, limits.voice_margin):
            faults[pair.case] = fault
        elif before - after > limits.clip_similarity_drop:
            faults[pair.case] = f"similarity to {pair.voice} fell from {before:.2f} to {after:.2f}"
    reasons = _reasons(pairs, "speaker", differences)
    return _answer(_Paired("speaker", "cosine", limits.similarity_drop, differences, reasons, faults))


def _mos(pairs: Sequence[Pair], limits: Limits) -> Judgement:
    """DNSMOS: OVRL over the cases, and OVRL and BAK of each."""
    differences, faults = {}, {}
    for pair in pairs:
        before, after = pair.base.mos, pair.candidate.mos
        if before is None or after is None:
            continue
        differences[pair.case] = before.ovrl - after.ovrl
        drop, name = max((before.ovrl - after.ovrl, "OVRL"), (before.bak - after.bak, "BAK"))
        if drop > limits.clip_mos_drop:
            faults[pair.case] = f"{name} fell by {drop:.1f}"
    reasons = _reasons(pairs, "mos", differences)
    return _answer(_Paired("MOS", "MOS points", limits.mos_drop, differences, reasons, faults))


def _answer(asked: _Paired, only_with_power: bool = False) -> Judgement:
    """The judgement on a paired question."""
    left_out = f" Not judged: {_listed(asked.not_judged)}." if asked.not_judged else ""
    if not asked.differences:
        said = f"Nothing to judge.{left_out}"
        return Judgement(topic="sound", question=asked.question, outcome="NOT JUDGED", code=0, sentence=said)
    found = estimate(list(asked.differences.values()), FAMILY)
    outcome, code, said = _decided(asked, found, only_with_power)
    return Judgement(
        topic="sound",
        question=asked.question,
        outcome=outcome,
        code=code,
        sentence=said + left_out,
        value=found.mean,
        low=found.low if math.isfinite(found.low) else None,
        high=found.high if math.isfinite(found.high) else None,
        limit=asked.limit,
        unit=asked.unit,
    )


def _decided(asked: _Paired, found: Estimate, only_with_power: bool) -> tuple[str, ExitCode, str]:
    """Outcome, code and sentence."""
    mean, low, high = (_figure(value, asked.unit) for value in (found.mean, found.low, found.high))
    limit = _figure(asked.limit, asked.unit)
    worse = f"{mean} over {found.pairs} clips (worse is positive)"
    if asked.faults:
        return "FAULT", 1, f"{worse}; beyond all chance in {len(asked.faults)}: {_listed(asked.faults)}."
    if found.low > asked.limit:
        return "WORSE", 1, f"{worse}, surely over the limit of {limit}: at least {low}."
    if found.high <= asked.limit:
        return "WITHIN", 0, f"{worse}, surely within the limit of {limit}: at most {high}."
    unsure = f"{worse}, neither surely within the limit of {limit} nor surely over it."
    least = needed(found.sd, asked.limit)
    if only_with_power and (least is None or least > found.pairs):
        return "NOT JUDGED", 0, f"{unsure} {_enough(least)} CER and dropped words stand in."
    return "UNDECIDED", 3, f"{unsure} {_enough(needed(found.sd, abs(asked.limit - found.mean)))}"


def _enough(pairs: int | None) -> str:
    return f"About {pairs} clips would tell." if pairs else f"Not even {HOPELESS} clips would tell."


def _figure(value: float, unit: str) -> str:
    """A share as a percentage, anything else as it is."""
    return f"{value:+.2%} {unit}" if unit.startswith("of ") else f"{value:+.3g} {unit}"


def _reasons(pairs: Sequence[Pair], judge: str, judged: Mapping[str, object]) -> dict[str, str]:
    """Why clips have no score of a judge, by case."""
    return {
        pair.case: pair.candidate.not_judged.get(judge) or pair.base.not_judged.get(judge) or "no score"
        for pair in pairs
        if pair.case not in judged
    }


def _listed(found: Mapping[str, str]) -> str:
    """`case (what)`, cases with the same remark together; the first few."""
    cases: dict[str, list[str]] = {}
    for case, what in found.items():
        cases.setdefault(what, []).append(case)
    parts = [
        f"{', '.join(names[:NAMED])}{' ...' * (len(names) > NAMED)} ({what})" for what, names in cases.items()
    ]
    return "; ".join(parts[:NAMED]) + f"; {len(parts) - NAMED} more" * (len(parts) > NAMED)
