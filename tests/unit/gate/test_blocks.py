"""Measuring on a made-up machine: live pairs, looks, budget, settling, and what is refused."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.gate.data.machine_state import AfterBlock
from engine.gate.data.samples import ARMS, Arm, Call, Work, in_blocks
from engine.gate.data.workloads import Sentence
from engine.gate.measure import blocks
from engine.gate.measure.blocks import Measured, Settings
from engine.gate.measure.compare import conclude
from engine.gate.measure.design import WARMUP
from engine.gate.measure.process import Reference
from engine.gate.stats.ratio_test import Verdict
from tests.unit.gate import builders
from tests.unit.gate.simulated import Fault, Machine, Made, assembled, measured, quiet, settings

SHORT = settings(blocks=2, rounds=5, names=("short", "medium"))


class Timed(Machine):
    """A machine with a clock: loading takes so long for each process, and calls what they say."""

    def __init__(self, load: float, fault: Fault | None = None, noise: float = 0.02) -> None:
        super().__init__(fault or Fault(), 10_000, noise)
        self.now, self._load_seconds = 0.0, load

    @contextlib.contextmanager
    def open(self, arm: Arm) -> Iterator[Made]:
        """A process that lets the clock go on."""
        self.now += self._load_seconds
        with super().open(arm) as made:
            speak = made.call

            def call(sentence: Sentence, voice: Reference | None = None, seed: int | None = None) -> Call:
                answer = speak(sentence, voice, seed)
                self.now += answer.seconds
                return answer

            made.call = call  # type: ignore[method-assign]
            yield made


def on(machine: Machine, plan: Settings, watch: blocks.Watch = quiet) -> Measured:
    """What is measured on that machine; its own clock where it has one."""
    clock = (lambda: machine.now) if isinstance(machine, Timed) else (lambda: 0.0)
    return blocks.measure(plan, machine.open, watch, lambda sentence: None, clock, lambda: None)


def test_in_every_round_each_process_says_the_same_with_the_same_seed_in_its_turn() -> None:
    """Base plus round over warm-up and calls; places are those of a round; and the record says so."""
    found = measured(plan=SHORT)
    for block in in_blocks(found.processes).values():
        assert [(process.arm, process.twin) for process in block] == [
            ("base", 0),
            ("base", 1),
            ("candidate", 0),
            ("candidate", 1),
        ]
        for index, sentence in enumerate(SHORT.sentences):
            rows = [(*process.series[index].warmup, *process.series[index].calls) for process in block]
            for turn, calls in enumerate(zip(*rows, strict=True)):
                assert {call.seed for call in calls} == {sentence.seed + turn}
                assert sorted(call.place for call in calls) == [0, 1, 2, 3]
            assert len({call.output for call in rows[0]}) == WARMUP + 5


def test_places_are_those_in_which_they_spoke() -> None:
    """The machine saw them in the order that the record tells."""
    machine = Machine(Fault(), 10)
    found = on(machine, settings(blocks=1, rounds=3, names=("short",)))
    spoke = machine.order[2 * blocks.SETTLING_CALLS :]
    assert len(spoke) == 4 * (WARMUP + 3)
    for turn in range(WARMUP + 3):
        arms = [made.arm for made in spoke[4 * turn : 4 * turn + 4]]
        calls = [
            (process.arm, (*process.series[0].warmup, *process.series[0].calls)[turn])
            for process in found.processes
        ]
        assert arms == [arm for arm, _ in sorted(calls, key=lambda pair: pair[1].place)]


def orders(seed: int) -> list[tuple[int, ...]]:
    """The places of the processes in every round."""
    found = measured(plan=dataclasses.replace(SHORT, seed=seed)).processes
    return [
        tuple(call.place for call in calls)
        for block in in_blocks(found).values()
        for calls in zip(*(process.series[0].calls for process in block), strict=True)
    ]


def test_the_seed_fixes_the_order_and_every_arm_comes_first_as_often() -> None:
    """A recorded seed repeats the run; over many rounds each process has each place."""
    assert orders(3) == orders(3)
    assert orders(3) != orders(4)
    first = Counter(places.index(0) for seed in range(40) for places in orders(seed))
    assert set(first) == {0, 1, 2, 3}
    assert min(first.values()) > 0.7 * max(first.values())


def test_warm_up_is_the_same_number_of_calls_everywhere_or_what_was_asked_for() -> None:
    """Neither arm nor block nor how slow it was decides."""
    slow_start = Fault(cold=5.0, cold_calls=1)
    for warmup, expected in ((None, WARMUP), (0, 0), (4, 4)):
        found = measured(slow_start, dataclasses.replace(SHORT, warmup=warmup))
        series = [series for process in found.processes for series in process.series]
        assert {(len(each.warmup), len(each.calls)) for each in series} == {(expected, 5)}


def test_one_process_an_arm_where_memory_does_not_hold_four() -> None:
    """Blocks of two, their calls paired the same way, and the missing control is said."""
    machine = Machine(Fault(), 100)
    plan = dataclasses.replace(settings(blocks=3, rounds=4, names=("short",)), twins=None)
    said: list[str] = []
    found = blocks.measure(plan, machine.open, quiet, said.append, lambda: 0.0, lambda: 1500.0)
    assert [(process.arm, process.twin) for process in found.processes] == [("base", 0), ("candidate", 0)] * 3
    assert any("no A/A control" in note for note in found.notes)
    assert any("no A/A control" in line for line in said)
    assert all(call.place < 2 for process in found.processes for call in process.series[0].calls)
    assert (
        len(blocks.measure(plan, machine.open, quiet, said.append, lambda: 0.0, lambda: 9e9).processes) == 12
    )


def test_what_was_measured_makes_a_record(tmp_path: Path) -> None:
    """Of pairs, of single processes, and of the candidate alone."""
    for plan in (SHORT, dataclasses.replace(SHORT, twins=1)):
        record = assembled(measured(plan=plan), tmp_path, plan)
        assert set(record.work) == set(ARMS)
    machine = Machine(Fault(), 10)
    found = blocks.measure_alone(SHORT, machine.open, quiet, lambda sentence: None, lambda: 0.0)
    assert assembled(found, tmp_path, SHORT).base is None


def test_loading_is_paid_once_a_block_by_pairs_that_load_together() -> None:
    """A process of each arm is begun before either is waited for, and all four stay to the end."""
    events: list[str] = []
    machine = Machine(Fault(), 10)

    class Lazy(Made):
        """A process that tells when somebody waits for it."""

        def __getattribute__(self, name: str) -> object:
            if name in ("described", "finish"):
                events.append(name)
            return super().__getattribute__(name)

    @contextlib.contextmanager
    def open_worker(arm: Arm) -> Iterator[Made]:
        events.append("begun")
        with machine.open(arm) as made:
            made.__class__ = Lazy
            yield made

    plan = settings(blocks=1, rounds=2, names=("short",))
    blocks.measure(plan, open_worker, quiet, lambda sentence: None, lambda: 0.0, lambda: None)
    block = events[events.index("finish") :][2:]
    assert block[:4] == ["begun", "begun", "described", "described"]
    assert block[4:8] == ["begun", "begun", "described", "described"]
    assert block.count("begun") == 4


def test_settling_counts_the_work_of_both_arms_and_nothing_is_timed_after_that() -> None:
    """The processes that are counted are not those that are timed."""
    machine = Machine(Fault(work=2), 10)
    opened: list[Made] = []
    counts: list[tuple[Made, int]] = []

    class Counted(Made):
        """A process that notes how many calls had been spoken when it was counted."""

        def count(self, sentence: Sentence) -> Work:
            counts.append((self, len(machine.order)))
            return super().count(sentence)

    @contextlib.contextmanager
    def open_worker(arm: Arm) -> Iterator[Made]:
        with machine.open(arm) as made:
            made.__class__ = Counted
            opened.append(made)
            yield made

    found = blocks.measure(SHORT, open_worker, quiet, lambda sentence: None, lambda: 0.0, lambda: None)
    settling, spoken = opened[:2], 2 * 2 * blocks.SETTLING_CALLS
    assert {made for made, _ in counts} == set(settling)
    assert {calls for _, calls in counts} == {spoken}
    assert not set(settling) & set(machine.order[spoken:])
    assert {arm: list(work) for arm, work in found.work.items()} == {arm: ["short", "medium"] for arm in ARMS}
    assert found.work["candidate"]["short"].operators == 2 * found.work["base"]["short"].operators


def test_it_stops_at_the_first_look_that_decides_everything() -> None:
    """Twice as slow needs no ten blocks."""
    found = measured(Fault(stages={"sampling": 2.0, "vocoder": 2.0}), settings(rounds=20))
    assert len(in_blocks(found.processes)) == settings().plan.looks[0]
    assert found.notes == ("Everything was decided after 5 of 10 blocks.",)
    assert found.plan.blocks_max == 10


def test_the_plan_is_cut_to_the_budget_before_the_first_block() -> None:
    """What a block costs is known by then; what is planned is kept, and said at once."""
    machine, said = Timed(load=5.0, noise=0.3), list[str]()
    plan = settings(blocks=10, rounds=None, names=("short",), budget=180.0)
    found = blocks.measure(plan, machine.open, quiet, said.append, lambda: machine.now, lambda: None)
    planned = found.plan.blocks_max
    assert 2 <= planned < 10
    assert len(in_blocks(found.processes)) in found.plan.looks
    assert machine.now <= 180
    cut = next(index for index, line in enumerate(said) if f"holds {planned} blocks of 10" in line)
    assert cut < next(index for index, line in enumerate(said) if line.startswith("block 1"))
    assert any(f"holds {planned} blocks of 10" in note for note in found.notes)
    assert found.plan.family == plan.plan.family


def test_a_block_that_takes_longer_than_planned_ends_the_run_by_the_clock() -> None:
    """No block begins that would end later than the budget; the note says what more would buy."""
    plan = settings(blocks=4, rounds=6, names=("short",), budget=300.0)
    machine = Timed(load=3.0, fault=Fault(throttled_from=0.0003), noise=0.3)
    machine.pace = lambda: 4.0 if machine._started > 6 else 1.0  # type: ignore[method-assign]
    found = on(machine, plan)
    done = len(in_blocks(found.processes))
    assert 1 <= done < found.plan.blocks_max == 4
    assert machine.now <= 300
    assert f"ended after {done} of 4 blocks" in found.notes[0]
    assert "all of them would take" in found.notes[0]


def test_what_the_clock_ends_after_one_block_still_decides() -> None:
    """Four times slower is seen in one of ten blocks."""
    slow = Fault(stages={"sampling": 4.0, "vocoder": 4.0})
    found = on(Timed(load=60.0, fault=slow, noise=0.005), settings(blocks=10, names=("short",), budget=1.0))
    assert len(in_blocks(found.processes)) == 1
    assert conclude(found.processes, found.plan).centre["short"].verdict is Verdict.SLOWER


def test_one_block_is_measured_whatever_the_budget() -> None:
    """A verdict needs samples."""
    for budget in (1e-3, 1.0):
        found = on(Timed(load=60.0), settings(blocks=10, rounds=4, names=("short",), budget=budget))
        assert len(in_blocks(found.processes)) == 1


def test_few_calls_are_said_aloud() -> None:
    """A worst of fewer than 60 calls can miss a slow one."""
    assert any("fewer than 60" in note for note in measured(plan=settings(blocks=1, rounds=4)).notes)
    assert not any("fewer" in note for note in measured(plan=settings(blocks=4, rounds=12)).notes)


def test_an_arm_that_changes_during_the_run_is_refused_and_no_process_stays() -> None:
    """Somebody edits the checkout while it is measured."""
    machine = Machine(Fault(), 40)

    @contextlib.contextmanager
    def open_worker(arm: Arm) -> Iterator[Made]:
        with machine.open(arm) as made:
            if machine.random.random() < 0.5:
                made.described = {**made.described, "options": {"nfe": 99}}
            yield made

    with pytest.raises(UsageError, match=r"options of the .* changed"):
        blocks.measure(settings(), open_worker, quiet, lambda sentence: None, lambda: 0.0, lambda: None)
    assert machine.alive == 0


def test_whatever_ends_a_block_ends_its_processes() -> None:
    """A call that fails in one of four, at any time, or the keyboard."""
    for error in (UsageError("a broken arm", "one that speaks", "Repair it"), KeyboardInterrupt()):
        for last in (0, 3, 20, 33):
            machine, left = Machine(Fault(), 40), [last]

            def jitter(left: list[int] = left, error: BaseException = error) -> float:
                left[0] -= 1
                if left[0] < 0:
                    raise error
                return 1.0

            machine.jitter = jitter  # type: ignore[method-assign]
            with pytest.raises(type(error)):
                on(machine, SHORT)
            assert machine.alive == 0


def test_the_machine_is_looked_at_after_each_block_and_what_is_wrong_is_said_at_once() -> None:
    """Between blocks, when no process runs; whoever waits for the verdict hears of it while it lasts."""
    machine, said = Machine(Fault(), 40), list[str]()

    def watch(block: int) -> AfterBlock:
        assert machine.alive == 0
        return AfterBlock(block=block, findings=(builders.HOT,) if block == 1 else ())

    plan = settings(blocks=3, rounds=4, names=("short",))
    found = blocks.measure(plan, machine.open, watch, said.append, lambda: 0.0, lambda: None)
    assert [(after.block, after.fit) for after in found.after_blocks] == [(0, True), (1, False), (2, True)]
    (told,) = [line for line in said if "unfit" in line]
    assert told == f"unfit after block 2: {builders.HOT.sentence}"


def test_the_candidate_alone_is_one_process_a_block_one_after_the_other() -> None:
    """No base is opened, seeds and rounds are the same in each, and work is counted once all is timed."""
    machine, alive = Timed(load=1.0), list[int]()

    def watch(block: int) -> AfterBlock:
        alive.append(machine.alive)
        return quiet(block)

    plan = settings(blocks=3, rounds=5, names=("short", "medium"))
    found = blocks.measure_alone(plan, machine.open, watch, lambda sentence: None, lambda: machine.now)
    assert {made.arm for made in machine.order} == {"candidate"}
    assert [(process.block, process.twin) for process in found.processes] == [(0, 0), (1, 0), (2, 0)]
    assert len({series.seeds for process in found.processes for series in process.series[:1]}) == 1
    assert {len(series.calls) for process in found.processes for series in process.series} == {5}
    assert list(found.work) == ["candidate"]
    assert list(found.work["candidate"]) == ["short", "medium"]
    assert alive == [0, 0, 0]


def test_the_candidate_alone_keeps_to_the_budget_too() -> None:
    """At least one process, then none that would end later; rounds have a default."""
    machine = Timed(load=40.0)
    plan = settings(blocks=9, rounds=None, names=("short",), budget=150.0)
    found = blocks.measure_alone(plan, machine.open, quiet, lambda sentence: None, lambda: machine.now)
    assert len(found.processes[0].series[0].calls) == blocks.ROUNDS_ALONE
    assert 1 < len(found.processes) < 9
    assert machine.now <= 150
    assert "ended after" in found.notes[0]
    assert found.plan.blocks_max == len(found.processes)
    brief = dataclasses.replace(plan, budget_seconds=1.0)
    assert len(blocks.measure_alone(brief, machine.open, quiet, lambda sentence: None).processes) >= 1
