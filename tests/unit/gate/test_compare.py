"""From processes to log-ratios: calls are paired by round, blocks by their median."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.gate.data.plan import Plan
from engine.gate.data.samples import ARMS, Process
from engine.gate.measure import compare
from engine.gate.stats.ratio_test import Verdict
from tests.unit.gate import builders

PLAN = Plan(10, family=5)


def block(*rtfs: list[float], number: int = 0, **changes: float) -> tuple[Process, ...]:
    """One block: the base's processes, then the candidate's, with the times of their rounds."""
    twins = len(rtfs) // 2
    places = [(arm, twin) for arm in ARMS for twin in range(twins)]
    return tuple(
        builders.process(arm, number, twin, own, **changes)
        for (arm, twin), own in zip(places, rtfs, strict=True)
    )


@given(st.lists(st.lists(st.floats(0.01, 10), min_size=4, max_size=4), min_size=1, max_size=9))
def test_a_blocks_value_is_the_median_over_rounds_of_paired_log_ratios(rounds: list[list[float]]) -> None:
    """By hand, round by round: candidates over bases; and each pair of twins the same way."""
    found = compare.centre_pairs(block(*map(list, zip(*rounds, strict=True))), "short")
    ratios = [(math.log(c) + math.log(d) - math.log(a) - math.log(b)) / 2 for a, b, c, d in rounds]
    assert found.ratios == pytest.approx([np.median(ratios)])
    twins = [[math.log(a / b) for a, b, _, _ in rounds], [math.log(c / d) for _, _, c, d in rounds]]
    assert found.twins == pytest.approx(np.median(twins, axis=1)[None])


def test_what_hits_a_round_of_all_processes_alike_changes_nothing() -> None:
    """Pairing in time: the machine may be ten times slower in any round."""
    quiet = block([1.0, 1.1, 0.9], [1.0, 1.0, 1.0], [1.2, 1.2, 1.3], [1.1, 1.2, 1.2])
    loud = block([1.0, 11.0, 0.9], [1.0, 10.0, 1.0], [1.2, 12.0, 1.3], [1.1, 12.0, 1.2])
    quiet_pairs, loud_pairs = (compare.centre_pairs(processes, "short") for processes in (quiet, loud))
    assert loud_pairs.ratios == pytest.approx(quiet_pairs.ratios)
    assert loud_pairs.twins == pytest.approx(quiet_pairs.twins)


def test_one_process_an_arm_has_a_ratio_and_no_twins() -> None:
    """The reduced block: [n] and [n, 0]."""
    found = compare.centre_pairs((*block([1.0], [2.0]), *block([1.0], [2.0], number=1)), "short")
    assert found.ratios == pytest.approx([math.log(2)] * 2)
    assert found.twins.shape == (2, 0)


def test_the_order_in_which_processes_are_stored_does_not_matter() -> None:
    """Blocks, arms and twins are known by their numbers."""
    processes = block([1.0], [1.1], [1.2], [1.4])
    expected = compare.centre_pairs(processes, "short")
    for order in permutations(processes):
        found = compare.centre_pairs(order, "short")
        assert (found.ratios, found.twins.tolist()) == (expected.ratios, expected.twins.tolist())


def test_blocks_that_are_not_whole_are_refused() -> None:
    """A missing process, or one with fewer rounds, has no pair."""
    processes = block([1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
    short = builders.process("candidate", 0, 1, [1.0])
    mixed = (*processes, *block([1.0, 1.0], [1.0, 1.0], number=1))
    for wrong in (processes[:3], processes[:2], (*processes[:3], short), (), mixed):
        with pytest.raises(UsageError, match="expected"):
            compare.decide(wrong, PLAN)


def test_every_part_is_decided_with_its_own_margin() -> None:
    """The centre, the tails, the first call and loading of a candidate with a fault in one of them."""
    fine = compare.decide(builders.processes(), PLAN)
    assert {decision.verdict for decision in fine.centre.values()} == {Verdict.SAME}
    assert list(fine.centre) == ["short", "medium"]
    slow = compare.decide(builders.processes(1.2), PLAN)
    assert {decision.verdict for decision in slow.centre.values()} == {Verdict.SLOWER}
    assert slow.tails.verdict is Verdict.SAME
    tails = compare.decide(
        builders.processes(
            calls=20,
            slow=lambda arm, block, index: 1.6 if arm == "candidate" and index % 10 == 3 else 1.0,
        ),
        PLAN,
    )
    assert tails.tails.verdict is Verdict.SLOWER
    assert tails.centre["short"].verdict is Verdict.SAME


def test_first_call_and_load_are_compared_once_a_process() -> None:
    """Ten per cent and more is a change; a block in which they were not recorded has no such row."""
    processes = [
        process.model_copy(
            update={
                "load_seconds": 3.0
                * (2.0 if process.arm == "candidate" else 1.0)
                * (1 + 0.01 * process.twin),
                "first_call_seconds": 1.0 + 0.05 * (process.arm == "candidate") + 0.001 * process.twin,
            }
        )
        for process in builders.processes()
    ]
    decisions = compare.decide(processes, PLAN)
    assert decisions.load is not None
    assert decisions.first_call is not None
    assert (decisions.load.verdict, decisions.first_call.verdict) == (Verdict.SLOWER, Verdict.SAME)
    assert decisions.load.ratio == pytest.approx(2.0)
    unseen = [process.model_copy(update={"first_call_seconds": 0.0}) for process in processes]
    assert compare.decide(unseen, PLAN).first_call is None


@given(st.lists(st.floats(0.1, 10), min_size=4, max_size=4))
def test_partners_load_together_and_twins_do_not(loads: list[float]) -> None:
    """The first two processes of a block load at another time than the second two, by hand."""
    a, b, c, d = loads
    block_of = [
        process.model_copy(update={"load_seconds": load})
        for process, load in zip(block(*[[1.0]] * 4), loads, strict=True)
    ]
    found = compare.load_pairs(block_of)
    assert found is not None
    first, second = math.log(c / a), math.log(d / b)
    assert found.ratios == pytest.approx([(first + second) / 2])
    assert found.twins == pytest.approx(np.array([[(second - first) / math.sqrt(2)]]))
    single = compare.load_pairs([process for process in block_of if process.twin == 0])
    assert single is not None
    assert (single.ratios, single.twins.shape) == (pytest.approx([first]), (1, 0))


def test_loading_times_are_as_noisy_as_their_pairs_say() -> None:
    """The control of 2,000 blocks agrees with the spread of their log-ratios, however far the pairs are
    apart."""
    random = np.random.default_rng(0)
    made = [
        process.model_copy(
            update={"load_seconds": float(np.exp(0.05 * random.standard_normal() + 0.7 * process.twin))}
        )
        for number in range(2000)
        for process in block(*[[1.0]] * 4, number=number)
    ]
    found = compare.load_pairs(made)
    assert found is not None
    assert math.sqrt(np.mean(found.twins**2) / 2) == pytest.approx(0.05, rel=0.05)
    assert found.ratios.std(ddof=1) == pytest.approx(0.05, rel=0.05)


def test_measuring_goes_on_until_centres_and_tails_are_decided() -> None:
    """A noisy start does not keep it going: it is seen once a block only."""
    random = np.random.default_rng(0)
    noisy = [
        process.model_copy(update={"load_seconds": float(random.lognormal(0, 0.5))})
        for process in builders.processes()
    ]
    decisions = compare.decide(noisy, PLAN)
    assert decisions.load is not None
    assert decisions.load.verdict is Verdict.UNDECIDED
    assert decisions.finished
    assert not compare.decide(builders.processes(1.05, noise=0.1), PLAN).finished


def test_a_run_that_chose_its_end_keeps_that_looks_answer() -> None:
    """Stopped at a look because all was decided: the interval of that look. Ended by the clock: all error
    that is left."""
    processes = builders.processes(1.3, blocks=7)
    looked = compare.conclude(processes[: 4 * 5], PLAN)
    assert looked == compare.decide(processes[: 4 * 5], PLAN)
    assert looked.finished
    for blocks in (1, 3, 4, 6):
        ended = compare.conclude(processes[: 4 * blocks], PLAN)
        assert ended == compare.decide(processes[: 4 * blocks], PLAN, last=True)
    open_still = builders.processes(1.05, noise=0.1, blocks=5)
    assert not compare.decide(open_still, PLAN).finished
    assert compare.conclude(open_still, PLAN) == compare.decide(open_still, PLAN, last=True)


def test_the_mean_curve_weighs_every_process_alike() -> None:
    """Each over its own median, so that slow processes do not weigh more; cut to the shortest."""
    curve = compare.mean_curve(block([3.0, 1.0, 1.0], [20.0, 10.0, 10.0, 10.0]), "short")
    assert curve == pytest.approx([2.5, 1.0, 1.0])
