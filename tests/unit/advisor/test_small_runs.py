"""Small runs of the gate: a block of live pairs of two toggle sets, and what its judges say of them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.advisor.recommendation import SmallRun, Trial
from engine.advisor.small_runs import WARMUP, SmallRuns, is_base, kept, last_line, summary
from engine.audio import Samples
from engine.errors import UsageError
from engine.gate.data.outputs import TimedChange
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Arm, Call
from engine.gate.data.verdict import Judgement
from engine.gate.data.workloads import Sentence
from engine.gate.measure.process import Material, Opener, Reference, Target
from engine.gate.quality import quality_pass
from engine.options import Options
from tests.unit.advisor.made_up import small_run
from tests.unit.gate import speakers
from tests.unit.gate.speakers import Speaker, wave

SENTENCE = Sentence(name="text", text="Hello, chat, how are you?", seed=7)
MATERIAL = Material(
    "made-up", "made-up", Path("one.wav"), "Words.", voices=speakers.VOICES, languages=("en",)
)


class Machine:
    """Starts made-up speakers. Sets whose nfe is in `waves` speak otherwise; those in `broken` end early."""

    def __init__(
        self, waves: Mapping[int, speakers.Wave] | None = None, broken: tuple[int, ...] = ()
    ) -> None:
        self.waves, self.broken = waves or {}, broken
        self.targets: list[Mapping[Arm, Target]] = []
        self.order: list[str] = []

    @contextlib.contextmanager
    def __call__(
        self, targets: Mapping[Arm, Target], material: Material, *, outputs: Path, timeout: float
    ) -> Iterator[Opener]:
        """Gives what starts a process of an arm, as `process.opener` does."""
        self.targets.append(targets)
        yield lambda arm: contextlib.nullcontext(self.speaker(arm, targets[arm].options, outputs))

    def speaker(self, arm: Arm, options: str, outputs: Path) -> Speaker:
        """One process."""
        machine, nfe = self, Options.parse(options).nfe

        class Heard(Speaker):
            def call(
                self, sentence: Sentence, voice: Reference | None = None, seed: int | None = None
            ) -> Call:
                machine.order.append(arm)
                if nfe in machine.broken:
                    raise UsageError("the candidate ended with code 1:\n  KeyError: 1\n", "one", "Repair")
                return super().call(sentence, voice, seed)

            def finish(self) -> Mapping[str, Any]:
                return {**super().finish(), "first_call_seconds": 1.0, "peak_host_mb": 500.0}

        return Heard(self.waves.get(nfe, wave), lambda request, known: 1.0 if arm == "base" else 0.5, outputs)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick texts in made-up voices, with no judge to be opened."""
    audition = dataclasses.replace(speakers.prepared(probes=0), sentences=(SENTENCE,))
    monkeypatch.setattr(quality_pass, "prepare", lambda *_, **__: audition)


def runs(folder: Path, machine: Machine, material: Material = MATERIAL) -> SmallRuns:
    """Small runs against the reference."""
    return SmallRuns(material, Options(), SENTENCE, folder, machine, speakers.heard)


def test_a_small_run_is_one_block_of_live_pairs(tmp_path: Path) -> None:
    """One process of each set, alive together; the same text and seeds, in random order; warm-up apart."""
    machine = Machine()
    run = runs(tmp_path, machine).compare(Options(nfe=7), 6, 60.0)
    assert {arm: target.options for arm, target in machine.targets[0].items()} == {
        "base": "reference",
        "candidate": "nfe=7",
    }
    base, candidate = run.base.series[0], run.candidate.series[0]
    assert base.seeds == candidate.seeds == ((7,), (8, 9, 10, 11, 12, 13))
    assert len(candidate.warmup) == WARMUP
    assert len(set(zip(machine.order[::2], machine.order[1::2], strict=True))) == 2
    assert run.changes == ()


def test_the_speed_up_of_a_small_run_is_the_gate_s(tmp_path: Path) -> None:
    """The candidate takes half of the time."""
    run = runs(tmp_path, Machine()).compare(Options(nfe=7), 3, 60.0)
    (logs,) = Trial(name="t", options="t", runs=(run,)).log_speed_ups
    assert math.exp(logs) == pytest.approx(2.0)


def test_answers_with_other_bytes_are_named_with_their_distance(tmp_path: Path) -> None:
    """Of each request that both answered, warm-up included."""

    def softer(*request: Any) -> Samples:
        return 0.9 * wave(*request)

    run = runs(tmp_path, Machine({7: softer})).compare(Options(nfe=7), 2, 60.0)
    assert [change.seed for change in run.changes] == [7, 8, 9]
    assert all((change.mel_l2 or 0) > 1e-3 for change in run.changes)


def test_the_judges_hear_the_quick_texts_and_name_what_is_wrong(tmp_path: Path, prepared: None) -> None:
    """Speech that is cut short is worse; the same speech is within the limits."""
    small = runs(tmp_path, Machine({6: speakers.truncated}))
    for nfe in (7, 6):
        small.compare(Options(nfe=nfe), 2, 60.0)
    assert small.hear(Options(nfe=7), 60.0).outcome == "within limits"
    short = small.hear(Options(nfe=6), 60.0)
    assert (short.outcome, short.code) == ("worse", 1)
    assert "duration" in short.sentence


def test_what_cannot_be_heard_is_not_judged_and_says_why(tmp_path: Path, prepared: None) -> None:
    """An untrained checkpoint, a set that was never run, and one that ends while it speaks."""
    machine = Machine()
    untrained = Material("made-up", "made-up", Path("one.wav"), "Words.", trained=False)
    assert "noise" in runs(tmp_path, machine, untrained).hear(Options(nfe=7), 60.0).sentence
    small = runs(tmp_path, machine)
    assert small.hear(Options(nfe=7), 60.0).sentence == "Not judged: it was never run."
    small.compare(Options(nfe=7), 2, 60.0)
    machine.broken = (7,)
    answer = small.hear(Options(nfe=7), 60.0)
    assert (answer.outcome, answer.sentence) == ("not judged", "Not judged: KeyError: 1.")


def judged(**changes: str) -> list[Judgement]:
    """Answers of the judges; by default all is well."""
    codes = {"WITHIN": 0, "WORSE": 1, "UNDECIDED": 3, "NOT JUDGED": 0}
    outcomes = {"signal": "WITHIN", "CER": "WITHIN", "speaker": "WITHIN", "MOS": "WITHIN"} | changes
    return [
        Judgement(
            topic="sound", question=name, outcome=outcome, code=codes[outcome], sentence=f"{outcome} it is."
        )  # type: ignore[arg-type]
        for name, outcome in outcomes.items()
    ]


def test_many_answers_become_one() -> None:
    """The worst one; where nobody listened, nothing was judged."""
    nobody = dict.fromkeys(("CER", "speaker", "MOS"), "NOT JUDGED")
    for changes, outcome, code in (
        ({}, "within limits", 0),
        ({"MOS": "UNDECIDED"}, "undecided", 3),
        ({"MOS": "UNDECIDED", "CER": "WORSE"}, "worse", 1),
        ({"CER": "NOT JUDGED"}, "within limits", 0),
        (nobody, "not judged", 0),
    ):
        answer = summary(judged(**changes))
        assert (answer.outcome, answer.code) == (outcome, code), changes
    assert "CER" in summary(judged(CER="NOT JUDGED")).sentence


def test_a_set_is_lossless_as_far_as_its_worst_answer() -> None:
    """Relative mel L2 against the gate's own limit; answers that cannot be compared say nothing."""

    def moved(*far: float | str) -> SmallRun:
        changes = [
            TimedChange(workload="text", seed=seed, trouble=one)  # type: ignore[arg-type]
            if isinstance(one, str)
            else TimedChange(workload="text", seed=seed, mel_l2=one)
            for seed, one in enumerate(far)
        ]
        return small_run({}, changes=tuple(changes))

    for run, outcome, code in (
        (moved(), "lossless", 0),
        (moved(1e-5, "not kept"), "lossless", 0),
        (moved(1e-5, 0.5), "not lossless", 1),
        (moved("not kept"), "not judged", 0),
        (moved(1e-5, "another length"), "not lossless", 1),
        (moved("candidate not finite"), "not lossless", 1),
    ):
        answer = kept([small_run({}), run], Limits())
        assert (answer.outcome, answer.code) == (outcome, code)


def test_the_last_words_of_a_process_are_its_error() -> None:
    """Not the traceback above them; and the present configuration is told from a candidate."""
    problem = UsageError("the candidate ended with code 1:\n  Traceback\n  KeyError: 'x'\n", "one", "Do")
    assert last_line(problem) == "KeyError: 'x'"
    assert not is_base(problem)
    assert is_base(UsageError("the base (0123456789, nfe=7) ended with code 1", "one", "Do"))
