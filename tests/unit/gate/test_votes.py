"""Votes of people: unblinded, checked, and held to a limit."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.errors import EngineError
from engine.gate.data.workloads import sha256_of
from engine.gate.listening import ballots, votes
from engine.gate.listening.ballots import Ballot, Entry, Opinion, Sheet, Vote, Votes, VotesError

PAIRS = 14


def sheet(pairs: int = PAIRS, **changes: Any) -> Sheet:
    """A page with so many pairs."""
    entries = tuple(
        Entry(name=f"pair {i}", text=f"Text {i}.", voice="slt", a=f"{i:064x}", b=f"{i + 1000:064x}")
        for i in range(pairs)
    )
    return Sheet(**{"a": "nfe=7", "b": "reference", "pairs": entries, **changes})


def ballot(page: Sheet, listener: int, drops: Sequence[int], words: str = "both") -> Ballot:
    """A listener who rates the base 3 and the candidate that much lower, and always compares accordingly.

    `words` is what is heard, with "candidate" and "base" for one of them alone.
    """
    second = page.candidate_second()
    cast = []
    for pair, drop in zip(page.pairs, drops, strict=False):
        ratings = (3, 3 - drop) if second[pair.name] else (3 - drop, 3)
        names = ("base", "candidate") if second[pair.name] else ("candidate", "base")
        heard = dict(zip(names, ("first", "second"), strict=True)).get(words, words)
        cast.append(
            Vote.model_validate(
                {
                    "pair": pair.name,
                    "comparison": -drop if second[pair.name] else drop,
                    "first": ratings[0],
                    "second": ratings[1],
                    "words": heard,
                }
            )
        )
    return Ballot(page=page.id, sheet=page, listener_id=f"{listener:016x}", votes=tuple(cast))


def saved(path: Path, content: Ballot | dict[str, Any], sha256: str | None = None) -> Path:
    """A votes file as the page saves it."""
    plain = content.model_dump(mode="json") if isinstance(content, Ballot) else content
    path.write_text(json.dumps({"sha256": sha256 or sha256_of(plain), "ballot": plain}), encoding="utf-8")
    return path


def cast(*drops: Sequence[int], words: str = "both") -> Votes:
    """The votes of one listener for each sequence of drops."""
    page = sheet(max(len(one) for one in drops))
    return Votes(page, tuple(ballot(page, number, one, words) for number, one in enumerate(drops)))


@given(st.integers(0, 2**53 - 1), st.integers(1, 40))
def test_the_blind_order_is_balanced_and_belongs_to_the_page(seed: int, pairs: int) -> None:
    """The candidate is second in half of the pairs; the same sheet always gives the same order."""
    page = sheet(pairs, seed=seed)
    second = page.candidate_second()
    assert sum(second.values()) == pairs // 2
    assert sorted(page.order()) == sorted(second) == sorted(pair.name for pair in page.pairs)
    again = Sheet.model_validate_json(page.model_dump_json())
    assert (again.id, again.order(), again.candidate_second()) == (page.id, page.order(), second)


def test_another_seed_gives_another_order() -> None:
    """Both the order of the pairs and the sides are drawn from it."""
    orders = {sheet(seed=seed).order() for seed in range(10)}
    sides = {tuple(sorted(sheet(seed=seed).candidate_second().items())) for seed in range(10)}
    assert len(orders) == len(sides) == 10


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=PAIRS))
def test_votes_are_unblinded(drops: list[int]) -> None:
    """Whatever side the candidate was on, preference and ratings are the candidate's."""
    found = {opinion.pair: opinion for opinion in cast(drops).opinions}
    for index, drop in enumerate(drops):
        opinion = found[f"pair {index}"]
        assert (opinion.drop, opinion.preference, opinion.base) == (drop, -drop, 3)


def test_words_are_unblinded() -> None:
    """ "Only the first" means the arm that was first."""
    for heard, meant in (
        ("both", "both"),
        ("candidate", "candidate"),
        ("base", "base"),
    ):
        assert {opinion.words for opinion in cast([0] * PAIRS, words=heard).opinions} == {meant}


def test_people_judge_a_candidate() -> None:
    """Under the limit, over it, or too few votes to tell; agreement on few rounded votes is no certainty."""
    for drops, outcome, code in (
        ([[0] * 30], "WITHIN", 0),
        ([[-1, 0] * 10], "WITHIN", 0),
        ([[1] * 10], "WORSE", 1),
        ([[1, 0] * 5], "UNDECIDED", 3),
        ([[0] * 8], "UNDECIDED", 3),
        ([[2] * 5], "UNDECIDED", 3),
        ([[2]] * 5, "UNDECIDED", 3),
        ([[2]] * 6, "WORSE", 1),
        ([[1]], "UNDECIDED", 3),
        ([[0] * 10] * 4, "WITHIN", 0),
    ):
        judgement = votes.judge(cast(*drops))
        assert (judgement.question, judgement.outcome, judgement.code) == ("people", outcome, code)
        assert judgement.limit == votes.MOS_DROP


def test_the_limit_is_an_argument() -> None:
    """A looser one lets a drop pass, a tighter one does not."""
    heard = cast([1, 0] * 20)
    assert [votes.judge(heard, limit).code for limit in (0.2, 0.5, 0.9)] == [1, 3, 0]


def heard(table: Sequence[Sequence[str]], drop: int = 0) -> Votes:
    """Votes of one listener for each row of what is heard, pair by pair."""
    page = sheet(len(table[0]))
    full = [
        {words: ballot(page, number, [drop] * len(row), words) for words in set(row)}
        for number, row in enumerate(table)
    ]
    mixed = [
        own[row[0]].model_copy(
            update={"votes": tuple(own[words].votes[index] for index, words in enumerate(row))}
        )
        for own, row in zip(full, table, strict=True)
    ]
    return Votes(page, tuple(mixed))


def test_words_that_only_the_base_says_fail() -> None:
    """However well the candidate is rated; what only the candidate says, or nobody, is no loss."""
    for words, code in {"base": 1, "candidate": 0, "neither": 0, "unsure": 0}.items():
        judgement = votes.judge(cast([0] * 30, words=words))
        assert judgement.code == code
        assert ("Only the base says the words of 'pair 0'" in judgement.sentence) == (code == 1)


def test_one_wrong_click_decides_nothing() -> None:
    """Of one listener it leaves the run undecided and asks for more; others who heard the words clear it."""
    slip = ["base", *["both"] * 29]
    alone = votes.judge(heard([slip]))
    assert (alone.outcome, alone.code) == ("UNDECIDED", 3)
    assert "Only the base says the words of 'pair 0', which may be slips." in alone.sentence
    assert "More listeners" in alone.sentence
    assert votes.judge(heard([slip, ["both"] * 30])).code == 0
    assert votes.judge(heard([slip, ["unsure"] * 30])).code == 3


def test_a_slip_does_not_hide_what_is_surely_worse() -> None:
    """Ratings that are far lower fail beside words in doubt."""
    assert votes.judge(heard([["base", *["both"] * 29]], drop=2)).outcome == "WORSE"


def test_listeners_who_agree_on_one_pair_are_sure() -> None:
    """A single text whose words are lost is found by a few listeners, though all others are well."""
    row = ["base", *["both"] * 23]
    assert [votes.judge(heard([row] * count)).code for count in (1, 2, 3, 6)] == [3, 3, 1, 1]


def test_listeners_who_guess_lose_no_words() -> None:
    """Who names one of the two at random names the candidate as often, whatever the number of pairs."""
    table = [["base", "candidate"] * 20]
    assert votes.judge(heard(table)).code == 3


def test_slips_of_two_percent_are_no_regression() -> None:
    """Good samples, 400 simulated pages of each size: lost words are called in at most 1 % of them."""
    draw = np.random.default_rng(0)
    for listeners, pairs in ((1, 24), (3, 24), (8, 14)):
        alarms = 0
        for _ in range(400):
            slips = draw.random((listeners, pairs)) < 0.02
            table = [["base" if slip else "both" for slip in row] for row in slips]
            alarms += votes.judge(heard(table)).code == 1
        assert alarms <= 4, (listeners, pairs)


@given(st.lists(st.lists(st.integers(-2, 2), min_size=7, max_size=7), min_size=7, max_size=7))
def test_the_interval_is_student_s_over_the_less_certain_unit(drops: list[list[int]]) -> None:
    """Against scipy, on the table of listeners and pairs; never narrower than rounding alone makes it."""
    mean = votes.mean_of(cast(*drops).opinions, "drop")
    tables = {"listener": drops, "pair": list(zip(*drops, strict=True))}
    widths = {}
    for unit, table in tables.items():
        means = [sum(row) / len(row) for row in table]
        error = max(stats.sem(means), math.sqrt(2 / 12 / 7 / 7))
        widths[unit] = 2 * stats.t.isf(0.05, 6) * error
    assert mean.low is not None
    assert mean.high is not None
    assert mean.high - mean.low == pytest.approx(max(widths.values()))
    assert mean.value == pytest.approx(sum(map(sum, drops)) / 49)
    assert (mean.low + mean.high) / 2 == pytest.approx(mean.value)
    assert widths[mean.unit] == pytest.approx(max(widths.values()))


def test_the_sentence_states_unit_and_interval() -> None:
    """What the mean is over, for the drop and for the preference."""
    assert votes.judge(cast([1] * 10)).sentence == (
        "10 votes of 1 listener: MOS drop +1.00 (90 % interval +0.76 to +1.24, over 10 pairs), "
        "CMOS -1.00 (90 % interval -1.17 to -0.83, over 10 pairs)."
    )
    assert "MOS drop +1.00 (over 1 pair)" in votes.judge(cast([1])).sentence


def test_several_files_are_read_together(tmp_path: Path) -> None:
    """One per listener; the page may be named."""
    page = sheet()
    paths = [saved(tmp_path / f"{i}.json", ballot(page, i, [0] * (5 + i))) for i in range(3)]
    found = ballots.read(paths, page.id)
    assert len(found.opinions) == 5 + 6 + 7
    assert ballots.read(paths[0]).ballots == found.ballots[:1]


def edited(change: Any) -> dict[str, Any]:
    """A ballot whose content `change` has altered."""
    content = ballot(sheet(), 1, [0] * PAIRS).model_dump(mode="json")
    change(content)
    return content


def test_votes_that_no_page_saves_are_refused(tmp_path: Path) -> None:
    """Even with a checksum that fits."""
    for change, said in (
        (lambda c: c["votes"][0].update(first=6), "votes.0.first"),
        (lambda c: c["votes"][0].update(comparison=-4), "votes.0.comparison"),
        (lambda c: c["votes"][0].update(first=3.5), "votes.0.first"),
        (lambda c: c["votes"][0].update(words="maybe"), "votes.0.words"),
        (lambda c: c["votes"][0].update(pair="pair 99"), "which the page does not have"),
        (lambda c: c["votes"].append(c["votes"][0]), "two votes on one pair"),
        (lambda c: c["votes"].clear(), "votes: "),
        (lambda c: c["sheet"].update(b="nfe=1"), "the sheet is that of page"),
        (lambda c: c["sheet"].update(seed=1), "the sheet is that of page"),
        (lambda c: c["sheet"]["pairs"].append(c["sheet"]["pairs"][0]), "is there 2 times"),
        (lambda c: c.update(listener_id="me"), "listener_id"),
        (lambda c: c.update(schema_version=2), "schema_version"),
        (lambda c: c.update(more=1), "more"),
    ):
        with pytest.raises(VotesError, match=said):
            ballots.read(saved(tmp_path / "votes.json", edited(change)))


def test_edited_votes_are_refused(tmp_path: Path) -> None:
    """The checksum is that of what was voted."""
    content = ballot(sheet(), 1, [1] * PAIRS)
    better = edited(lambda c: None)
    path = saved(tmp_path / "votes.json", better, sha256_of(content.model_dump(mode="json")))
    with pytest.raises(VotesError, match="does not match its checksum"):
        ballots.read(path)


def test_what_is_no_votes_file_is_refused(tmp_path: Path) -> None:
    """One error of ours, which names the file."""
    for text in (
        "",
        "[]",
        "{}",
        '{"sha256": "x", "ballot": NaN}',
        "\udcff",
        '"votes"',
    ):
        path = tmp_path / "votes.json"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(EngineError, match=r"votes\.json"):
            ballots.read(path)
        with pytest.raises(VotesError, match="missing"):
            ballots.read(tmp_path / "missing.json")


def test_votes_on_another_page_are_refused(tmp_path: Path) -> None:
    """Whether it differs from the first file's page or from the one that is asked for."""
    mine = saved(tmp_path / "mine.json", ballot(sheet(), 1, [0] * PAIRS))
    other = saved(tmp_path / "other.json", ballot(sheet(seed=1), 2, [0] * PAIRS))
    with pytest.raises(VotesError, match=r"other\.json: votes on page"):
        ballots.read([mine, other])
    with pytest.raises(VotesError, match=r"mine\.json: votes on page"):
        ballots.read(mine, sheet(seed=1).id)


def test_one_listener_counts_once(tmp_path: Path) -> None:
    """An earlier and a later download of the same person."""
    paths = [saved(tmp_path / f"{n}.json", ballot(sheet(), 1, [0] * n)) for n in (3, 4)]
    with pytest.raises(VotesError, match="the same listener"):
        ballots.read(paths)
    with pytest.raises(VotesError, match="no votes file"):
        ballots.read([])


def test_what_was_heard_must_be_what_was_measured() -> None:
    """Matched by the hash of the output, for each arm."""
    found = cast([0] * 6)
    candidate, base = ({getattr(pair, arm) for pair in found.sheet.pairs} for arm in "ab")
    found.check(candidate, base)
    with pytest.raises(VotesError, match="the candidate's 'pair 0'"):
        found.check(base, candidate)
    with pytest.raises(VotesError, match="the base's 'pair 5'"):
        found.check(candidate, base - {found.sheet.pairs[5].b})


def test_opinions_of_many_listeners_and_few_pairs_are_over_listeners() -> None:
    """The unit is the one there is enough of."""
    few = [Opinion(f"{i}", "one", 0, 3, 3, "both") for i in range(10)]
    assert votes.mean_of(few, "preference").unit == "listener"
