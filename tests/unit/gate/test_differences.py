"""The comparison of quality: what passes, what fails, what is undecided, and what is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.data.scores import Distances, Mos, Scores, Signal, WordErrors
from engine.gate.data.verdict import Judgement
from engine.gate.quality.differences import QUESTIONS, Limits, Pair, compare

LIMITS = Limits()
CLEAN = Signal(
    finite=True,
    clipped=0.0,
    dc=0.001,
    loudness_dbfs=-25.0,
    silent_head_s=0.05,
    silent_tail_s=0.05,
    longest_silence_s=0.1,
    click=1.3,
    click_at_s=0.7,
    frozen_s=0.0,
)
TEXT = "She left the kitchen window open and the rain came in."


def scores(name: str, **changes: Any) -> Scores:
    """Good speech; every argument is one thing that a test varies."""
    mos, similarity = changes.pop("mos", 3.0), changes.pop("similarity", 0.8)
    edits, dropped = changes.pop("edits", (1, 3)), changes.pop("dropped", ())
    signal = CLEAN.model_copy(update=changes.pop("signal", {}))
    content: dict[str, Any] = {
        "output": name.encode().hex().ljust(64, "0")[:64],
        "seconds": 3.5,
        "voice": "slt",
        "signal": signal,
        "words": WordErrors(word_edits=edits[0], words=11, char_edits=edits[1], chars=54, dropped=dropped),
        "similarities": {"slt": similarity, "awb": 0.5},
        "mos": Mos(ovrl=mos, sig=3.3, bak=changes.pop("bak", 3.8), p808=3.0),
    }
    return Scores(**{**content, **changes})


def pairs(
    count: int = 8, noise: float = 0.0, distance: Distances | None = None, **changes: Any
) -> list[Pair]:
    """So many pairs; the candidate has `changes`, and MOS and similarity with normal `noise`."""
    generator = np.random.default_rng(0)
    made = []
    for at in range(count):
        shaken = dict(changes)
        for measure, level in (("mos", 3.0), ("similarity", 0.8)):
            shaken[measure] = changes.get(measure, level) + noise * generator.standard_normal()
        made.append(
            Pair(
                case=f"case {at}",
                text=TEXT,
                voice="slt",
                base=scores(f"a{at}"),
                candidate=scores(f"b{at}", **shaken),
                distance=distance,
            )
        )
    return made


def spoilt(**changes: Any) -> list[Pair]:
    """Eight clean pairs, of which one candidate has `changes`."""
    return [*pairs(7), pairs(8, **changes)[7]]


def asked(question: str, made: list[Pair], limits: Limits = LIMITS, lossless: bool = False) -> Judgement:
    """The answer to one question."""
    return {one.question: one for one in compare(made, limits, lossless=lossless)}[question]


def failed(made: list[Pair], lossless: bool = False) -> set[str]:
    """The questions that fail."""
    return {one.question for one in compare(made, LIMITS, lossless=lossless) if one.code == 1}


def far(mel_l2: float) -> Distances:
    """A distance of this size."""
    return Distances(
        mel_l1=mel_l2,
        mel_l2=mel_l2,
        mcd_db=1.0,
        lsd_db=1.0,
        si_sdr_db=20.0,
        worst_frame=mel_l2,
        worst_frame_s=0,
    )


def test_every_question_is_answered_in_order_and_clean_pairs_pass() -> None:
    """Unchanged speech, with or without noise in the judges, is code 0 throughout."""
    for noise in (0.0, 0.01):
        found = compare(pairs(noise=noise), LIMITS, lossless=False)
        assert tuple(one.question for one in found) == QUESTIONS
        assert {one.code for one in found} == {0}


FAULTS: tuple[tuple[dict[str, Any], str, str], ...] = (
    ({"signal": {"finite": False}}, "signal", "NaN"),
    ({"signal": {"clipped": 0.02}}, "signal", "2.0% clipped"),
    ({"signal": {"dc": -0.05}}, "signal", "offset -0.050"),
    ({"signal": {"click": 9.0}}, "signal", "click at 0.70 s"),
    ({"signal": {"frozen_s": 0.05}}, "signal", "50 ms played twice"),
    ({"signal": {"loudness_dbfs": -32.0}}, "signal", "-7.0 dB"),
    ({"signal": {"silent_tail_s": 0.5}}, "signal", "0.45 s more of silence"),
    ({"signal": {"silent_head_s": 0.5}}, "signal", "0.45 s more of silence"),
    ({"signal": {"longest_silence_s": 0.5}}, "signal", "0.40 s more of silence"),
    ({"seconds": 3.2}, "duration", "-8.6% of the base's length"),
    ({"seconds": 0.0}, "duration", "-100.0%"),
    ({"edits": (6, 30)}, "CER", "+50% of its characters wrong"),
    ({"similarity": 0.6}, "speaker", "fell from 0.80 to 0.60"),
    ({"similarities": {"slt": 0.5, "awb": 0.7}}, "speaker", "sounds like awb instead of slt"),
    ({"mos": 1.7}, "MOS", "OVRL fell by 1.3"),
    ({"bak": 1.5}, "MOS", "BAK fell by 2.3"),
)
"""What may be wrong with a clip, the question that fails, and what is said of it."""


def test_one_faulty_clip_fails_by_name() -> None:
    """One fault in one of eight clips: its question alone fails, naming the case and what is wrong."""
    for changes, question, said in FAULTS:
        found = asked(question, spoilt(**changes))
        assert (found.outcome, found.code) == ("FAULT", 1), changes
        assert said in found.sentence
        assert "case 7" in found.sentence
        assert failed(spoilt(**changes)) == {question}, changes


def test_what_the_base_does_too_is_no_fault_of_the_candidate() -> None:
    """The voice is like that: both arms the same."""
    signal = {"clipped": 0.02, "dc": 0.05, "click": 9.0, "frozen_s": 0.05, "silent_tail_s": 0.5}
    for name, value in signal.items():
        own = {name: value}
        made = [
            pair.model_copy(
                update={"base": scores("x", signal=own), "candidate": scores(f"y{at}", signal=own)}
            )
            for at, pair in enumerate(pairs())
        ]
        assert failed(made) == set(), name


def test_a_voice_that_the_judge_never_recognised_is_not_called_wrong() -> None:
    """The base too sounds more like another clip: the judge cannot tell these voices apart."""
    alike = {"slt": 0.6, "awb": 0.7}
    made = [
        pair.model_copy(
            update={
                "base": scores("x", similarities=alike),
                "candidate": scores(f"y{at}", similarities=alike),
            }
        )
        for at, pair in enumerate(pairs())
    ]
    assert failed(made) == set()


def test_a_broken_base_decides_nothing() -> None:
    """NaN in the base: no pass, and no fault of the candidate."""
    made = pairs()
    made[0] = made[0].model_copy(update={"base": scores("x", signal={"finite": False})})
    found = asked("signal", made)
    assert (found.outcome, found.code) == ("UNDECIDED", 3)
    assert "base itself is broken: case 0" in found.sentence


def test_a_little_worse_in_every_clip_fails() -> None:
    """None of the clips is faulty by itself; together they are surely over the limit."""
    worse: tuple[tuple[dict[str, Any], str], ...] = (
        ({"mos": 2.7}, "MOS"),
        ({"similarity": 0.75}, "speaker"),
        ({"edits": (3, 8)}, "CER"),
        ({"edits": (3, 3)}, "WER"),
        ({"dropped": ("the",)}, "dropped words"),
    )
    for changes, question in worse:
        found = asked(question, pairs(**changes))
        assert (found.outcome, found.code) == ("WORSE", 1), changes
        assert found.low is not None
        assert found.limit is not None
        assert found.low > found.limit


def test_worse_within_the_limit_passes() -> None:
    """A limit is what may be spent."""
    within: tuple[tuple[dict[str, Any], str], ...] = (
        ({"mos": 2.85}, "MOS"), ({"similarity": 0.785}, "speaker"), ({"edits": (1, 4)}, "CER"),
    )  # fmt: skip
    for changes, question in within:
        found = asked(question, pairs(**changes))
        assert (found.outcome, found.code) == ("WITHIN", 0), changes
        assert found.high is not None
        assert found.limit is not None
        assert found.high <= found.limit


def test_too_noisy_to_tell_is_undecided_and_says_how_many_clips_would() -> None:
    """Neither bound is on one side of the limit."""
    made = [
        pair.model_copy(update={"candidate": scores(f"c{at}", similarity=0.8 - drop)})
        for at, (pair, drop) in enumerate(zip(pairs(4), (0.06, -0.04, 0.05, -0.03), strict=True))
    ]
    found = asked("speaker", made)
    assert (found.outcome, found.code) == ("UNDECIDED", 3)
    assert "clips would tell" in found.sentence


def test_one_pair_alone_decides_no_mean() -> None:
    """It has no spread; the bounds are left out of the record."""
    found = asked("MOS", pairs(1))
    assert (found.outcome, found.code, found.low, found.high) == ("UNDECIDED", 3, None, None)


def mixed(rises: list[int]) -> list[Pair]:
    """One pair for each rise in word edits."""
    return [
        pair.model_copy(update={"candidate": scores(f"c{at}", edits=(1 + rise, 3))})
        for at, (pair, rise) in enumerate(zip(pairs(len(rises)), rises, strict=True))
    ]


def test_word_errors_are_judged_only_where_the_clips_can_tell() -> None:
    """The quick set has not the power for 2 points of WER, and says so; a sure rise fails at any size."""
    few = asked("WER", mixed([0, 1, -1, 0, 1, -1, 0, 0]))
    assert (few.outcome, few.code) == ("NOT JUDGED", 0)
    assert "clips would tell" in few.sentence
    assert "CER and dropped words stand in" in few.sentence
    many = asked("WER", mixed([0, 1, -1, 0, 0, 0, 0, 0] * 40))
    assert (many.outcome, many.code) == ("WITHIN", 0)
    assert asked("WER", mixed([3, 2, 4, 3, 2, 3, 4, 3])).code == 1


def endings(lost: int, count: int, word: str = "in", base: tuple[str, ...] = ()) -> Judgement:
    """What is said of `count` pairs of which `lost` candidates lack `word`; the text ends in "in"."""
    made = [
        pair.model_copy(
            update={
                "base": scores(f"b{at}", dropped=base),
                "candidate": scores(f"c{at}", dropped=(word,) if at < lost else base),
            }
        )
        for at, pair in enumerate(pairs(count))
    ]
    return asked("dropped words", made)


def test_more_lost_last_words_than_chance_explains_are_a_fault() -> None:
    """Speech that stops early loses the same word each time: few clips tell what no mean of so few can."""
    found = endings(6, 8)
    assert (found.outcome, found.code) == ("FAULT", 1)
    assert "without its last word, 'in'" in found.sentence
    assert endings(2, 8).outcome != "FAULT"
    assert endings(3, 24).outcome != "FAULT"
    assert endings(9, 24).outcome == "FAULT"


def test_a_last_word_counts_as_lost_only_if_the_base_had_it() -> None:
    """What the recogniser never hears is no loss, nor is a word from the middle."""
    assert endings(6, 8, base=("in",)).outcome != "FAULT"
    assert endings(6, 8, word="rain").outcome != "FAULT"


def test_error_rates_are_those_of_the_whole_set() -> None:
    """The mean difference is the difference of the corpus rates, however long each clip is."""
    made = pairs(3)
    lengths, rises = (5, 40, 300), (2, 0, 5)
    for at, (length, rise) in enumerate(zip(lengths, rises, strict=True)):
        words = [WordErrors(word_edits=1, words=2, char_edits=one, chars=length) for one in (1, 1 + rise)]
        made[at] = made[at].model_copy(
            update={"base": scores("x", words=words[0]), "candidate": scores(f"y{at}", words=words[1])}
        )
    found = asked("CER", made, Limits(clip_cer_rise=9.0))
    assert found.value == pytest.approx(sum(rises) / sum(lengths))


def test_what_cannot_be_judged_is_said_and_no_error() -> None:
    """All clips, or some of them: the reason is in the sentence."""
    made, why = pairs(), "no recogniser for zh"
    silent: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("CER", "words", {"words": None}),
        ("WER", "words", {"words": None}),
        ("dropped words", "words", {"words": None}),
        ("speaker", "speaker", {"similarities": {}}),
        ("MOS", "mos", {"mos": None}),
    )
    for question, judge, update in silent:
        deaf = {**update, "not_judged": {judge: why}}
        blind = [
            pair.model_copy(update={"candidate": pair.candidate.model_copy(update=deaf)}) for pair in made
        ]
        nothing = asked(question, blind)
        assert (nothing.outcome, nothing.code, nothing.value) == ("NOT JUDGED", 0, None)
        assert why in nothing.sentence
        some = asked(question, [*made[:6], *blind[6:]])
        assert (some.outcome, some.code) == ("WITHIN", 0)
        assert f"Not judged: case 6, case 7 ({why})" in some.sentence


def test_lossless_means_close_in_every_clip() -> None:
    """One clip over the tolerance fails a toggle that claims to keep the result, and no other."""
    made = pairs(distance=far(1e-4))
    assert asked("distance", made, lossless=True).outcome == "LOSSLESS"
    made[3] = made[3].model_copy(update={"distance": far(5e-3)})
    found = asked("distance", made, lossless=True)
    assert (found.outcome, found.code) == ("NOT LOSSLESS", 1)
    assert "Farthest: case 3" in found.sentence
    reported = asked("distance", made)
    assert (reported.outcome, reported.code, reported.value) == ("REPORTED", 0, 5e-3)


def test_a_lossless_claim_without_a_distance_is_undecided() -> None:
    """Other noise: nothing can be said; for a lossy candidate nothing has to be."""
    assert asked("distance", pairs(), lossless=True).code == 3
    assert asked("distance", pairs()).outcome == "NOT JUDGED"


def test_the_same_bytes_need_no_distance() -> None:
    """Bit for bit the same outputs are lossless, whatever could not be compared."""
    made = [pair.model_copy(update={"candidate": pair.base}) for pair in pairs()]
    found = asked("distance", made, lossless=True)
    assert (found.outcome, found.code) == ("LOSSLESS", 0)
    assert "8 of 8 outputs are the same" in found.sentence


def test_an_implausible_rate_is_said_where_the_base_has_it_too() -> None:
    """Both arms speak the text in half a second: no regression, but said aloud."""
    made = [
        pair.model_copy(update={"base": scores("x", seconds=0.5), "candidate": scores(f"y{at}", seconds=0.5)})
        for at, pair in enumerate(pairs())
    ]
    found = asked("duration", made)
    assert found.code == 0
    assert "Hard to believe" in found.sentence


@given(st.lists(st.floats(-0.7, 0.7), min_size=2, max_size=12), st.floats(0.0, 0.2))
@settings(max_examples=40, deadline=None)
def test_a_worse_candidate_is_never_judged_better(drops: list[float], more: float) -> None:
    """Taking the same from every MOS moves PASS towards FAIL, never back."""

    def code(extra: float) -> int:
        made = [
            pair.model_copy(update={"candidate": scores(f"c{at}", mos=3.0 - drop - extra)})
            for at, (pair, drop) in enumerate(zip(pairs(len(drops)), drops, strict=True))
        ]
        return (0, 3, 1).index(asked("MOS", made).code)

    assert code(more) >= code(0.0)


def test_pairs_that_are_no_comparison_are_refused() -> None:
    """None, or a case twice."""
    for made, said in (([], "no pairs"), ([*pairs(2), *pairs(1)], "case 'case 0' twice")):
        with pytest.raises(UsageError, match=said):
            compare(made, LIMITS, lossless=False)


def test_every_limit_says_its_unit_and_its_reason() -> None:
    """In the schema, where a person who edits a baseline reads it."""
    for name, field in Limits.model_fields.items():
        assert field.description, name
        assert len(field.description) > 30, name
