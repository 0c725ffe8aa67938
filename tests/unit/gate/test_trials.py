"""Trials on a synthetic engine: known stages, known gains, and a clock that only its calls advance."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.advisor.bench import Bench, kept, last_line, unproven
from engine.advisor.candidates import ELSEWHERE, TOUCHES, Candidate, enumerate_all, in_turn
from engine.advisor.doctor import Ability
from engine.advisor.jury import Jury, told
from engine.advisor.recommend import recommend
from engine.advisor.recommend_record import Findings, Report, Sound
from engine.advisor.trials import Study
from engine.errors import DeviceError, UsageError
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Call, Judgement
from engine.gate.data.workloads import Sentence
from engine.gate.measure.process import Material, Reference
from engine.gate.quality.judges import Item, Panel, Scores, judge_all
from engine.options import Options
from tests.unit.gate.test_recommend import COSTS, profiled, sitting

SENTENCE = Sentence(name="text", text="Hello, chat, how are you?", seed=7)
WELL = Sound(heard="within limits", code=0, sentence="Within.")
BAD = Sound(heard="worse", code=1, sentence="MOS: it fell.")
FACTORS: Mapping[str, Mapping[str, float]] = {
    "precision=bf16": {"sampling": 2.0},
    "int8=dynamic": {"sampling": 0.75},
    "compile=default": {"sampling": 0.65, "vocoder": 0.8},
    "vocoder_backend=onnx": {"vocoder": 0.4},
    "reference_cache=on": {"reference": 0.4},
    "hoist=on": {"sampling": 0.85},
    "buckets=on": {},
    "guidance=reuse": {"sampling": 0.8},
    "nfe=16 schedule=epss": {"sampling": 0.5},
}
"""What each toggle of the synthetic engine does to its stages."""


class Machine:
    """A virtual machine: seconds pass when it loads and when it speaks."""

    def __init__(self, **faults: Any) -> None:
        self.now = 0.0
        self.load = faults.get("load", 3.0)
        self.refused: Mapping[str, str] = faults.get("refused", {})
        self.idle: frozenset[str] = frozenset(faults.get("idle", ()))
        self.hangs: frozenset[str] = frozenset(faults.get("hangs", ()))
        self.sounds: Mapping[str, Sound] = faults.get("sounds", {})
        self.audio: Mapping[str, float] = faults.get("audio", {})
        self.random = np.random.default_rng(faults.get("seed", 0))
        self.noise = faults.get("noise", 0.01)
        self.opened: list[str] = []
        self.heard: list[str] = []
        self.spoke: list[str] = []

    @contextlib.contextmanager
    def open(self, options: Options, seconds: float) -> Iterator[Process]:
        """A process with these toggles, which is ended after so many seconds."""
        self.opened.append(str(options))
        for name, why in self.refused.items():
            if name in toggles(options):
                self.now += self.load
                raise UsageError(
                    f"the candidate ended with code 1:\n  {why}\n", "one that loads", "Repair it"
                )
        self.now += self.load
        yield Process(self, options, self.now - self.load + seconds)

    def hear(self, options: Options, seconds: float) -> Sound:
        """Twenty seconds of judging."""
        self.heard.append(str(options))
        self.now += 20.0
        known = [self.sounds[name] for name in toggles(options) if name in self.sounds]
        return next((sound for sound in known if sound.code), WELL)


class Process:
    """One process of the synthetic engine."""

    def __init__(self, machine: Machine, options: Options, until: float) -> None:
        self.machine, self.options, self.until = machine, options, until
        self.described: dict[str, Any] = {"load_seconds": machine.load}

    def call(self, sentence: Sentence, voice: Reference | None = None) -> Call:
        """Speak: its stages take what the toggles leave of them; a tenth is noise's to change."""
        machine, names = self.machine, toggles(self.options)
        costs = dict(COSTS)
        for name in names:
            for stage, factor in FACTORS.get(name, {}).items():
                costs[stage] *= factor
        pace = float(np.exp(machine.noise * machine.random.standard_normal()))
        costs = {stage: seconds * pace for stage, seconds in costs.items()}
        took = 1e6 if machine.hangs & set(names) else sum(costs.values())
        machine.now += min(took, max(0.0, self.until - machine.now))
        if machine.now >= self.until:
            raise UsageError("the candidate ended with code -9:\n  no message\n", "one that speaks", "Repair")
        machine.spoke.append(str(self.options))
        length = next((machine.audio[name] for name in names if name in machine.audio), 1.0)
        return Call(
            seconds=sum(costs.values()), audio_seconds=length * sum(COSTS.values()) / 0.72, host_mb=500.0,
            stages=costs, output=hashlib.sha256(str(self.options).encode()).hexdigest(),
        )  # fmt: skip

    def finish(self) -> Mapping[str, Any]:
        """Every option is proven, but those of a toggle that is idle."""
        idle = {word.split("=")[0] for name in self.machine.idle for word in name.split()}
        evidence = {
            field.name: [False, "it was never called"] if field.name in idle else [True, "seen"]
            for field in dataclasses.fields(Options)
        }
        return {"evidence": evidence, "peak_host_mb": 600.0, "peak_device_mb": None}


def toggles(options: Options) -> list[str]:
    """The synthetic engine's toggles that are on in a set."""
    return [
        name for name in FACTORS
        if all(str(options).replace("True", "on").split().count(word) for word in name.split())
    ]  # fmt: skip


def candidates() -> list[Candidate]:
    """The candidates of a CPU whose factors are known."""
    found, _ = enumerate_all(Options(), "cpu", 1.8, checks=())
    return [one for one in found if one.name in FACTORS]


def studied(machine: Machine, budget: float = 1000.0, target: float = 0.36) -> tuple[Findings, Report]:
    """A study of the synthetic engine, and its report."""
    bench = Bench(SENTENCE, machine.open, machine.hear, lambda one, other: 1e-5, clock=lambda: machine.now)
    profile = profiled()
    findings = Study(bench, Options(), profile, budget, profile.rtf / target).run(candidates())
    return findings, recommend(profile, findings, target)


@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_of_a_known_engine_is_right(seed: int) -> None:
    """By what the toggles really do to the whole, in every draw of the noise; what does nothing is named."""
    _, report = studied(Machine(seed=seed, noise=0.005))
    whole = {
        name: sum(seconds * factors.get(stage, 1.0) for stage, seconds in COSTS.items())
        for name, factors in FACTORS.items()
    }
    ranked = [row.name for row in report.rows if row.status == "faster"]
    large = [name for name in sorted(whole, key=lambda name: whole[name]) if whole[name] < 0.93]
    assert ranked[: len(large)] == large
    last = {row.name: row.status for row in report.rows[-2:]}
    assert last == {"buckets=on": "nothing", "precision=bf16": "slower"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("target", [0.5, 0.36, 0.1])
def test_the_prediction_for_the_best_set_holds_within_a_tenth(seed: int, target: float) -> None:
    """On an engine whose stages are known, several toggles together do what their trials promised."""
    _, report = studied(Machine(seed=seed), target=target)
    check = report.check
    assert check is not None
    assert check.error is not None
    assert check.processes == 3
    assert abs(check.error) < 0.1
    options = Options.parse(check.options)
    left = dict(COSTS)
    for name in toggles(options):
        for stage, factor in FACTORS[name].items():
            left[stage] *= factor
    assert check.predicted == pytest.approx(1 / sum(left.values()), rel=0.1)


def test_a_target_that_the_engine_can_meet_is_met() -> None:
    """0.72 becomes 0.36 by lossless toggles and the one lossy toggle that it takes."""
    _, report = studied(Machine())
    assert report.exit_code == 0
    assert report.check is not None
    assert set(report.check.parts) >= {"compile=default", "hoist=on", "nfe=16 schedule=epss"}
    assert "guidance=reuse" not in report.check.parts
    assert studied(Machine(), target=0.05)[1].exit_code == 1


def test_a_toggle_that_does_not_load_is_listed_with_its_error() -> None:
    """It says what it said last, gets no rank, and is not tried again."""
    machine = Machine(refused={"vocoder_backend=onnx": "DeviceError: no onnxruntime"})
    findings, report = studied(machine)
    (failed,) = [trial for trial in findings.trials if trial.error]
    assert (failed.name, failed.error) == ("vocoder_backend=onnx", "DeviceError: no onnxruntime")
    assert failed.name not in {row.name for row in report.rows}
    assert machine.opened.count("vocoder_backend=onnx") == 1


def test_a_toggle_whose_evidence_fails_has_no_gain_and_no_part_in_the_set() -> None:
    """It looked fast; nothing shows that it was switched on."""
    _, report = studied(Machine(idle={"compile=default"}))
    row = report.rows[-1]
    assert (row.name, row.status, row.gain) == ("compile=default", "not engaged", None)
    assert row.note == "compile: it was never called"
    assert report.check is not None
    assert "compile=default" not in report.check.parts


def test_what_sounds_worse_gives_way_to_the_next() -> None:
    """The lossy toggle with the largest gain is heard first, and left out."""
    machine = Machine(sounds={"nfe=16 schedule=epss": BAD})
    _, report = studied(machine, target=0.3)
    assert report.check is not None
    assert "nfe=16 schedule=epss" not in report.check.parts
    assert "int8=dynamic" in report.check.parts
    assert machine.heard[:2] == ["nfe=16 schedule=epss", "int8=dynamic"]
    assert {row.name: row.status for row in report.rows}["nfe=16 schedule=epss"] == "sounds worse"


def test_only_what_is_recommended_is_heard() -> None:
    """Judging takes long: a lossless set that meets the target needs none."""
    machine = Machine()
    _, report = studied(machine, target=0.6)
    assert report.check is not None
    assert machine.heard == []
    assert report.check.sound.heard == "lossless"


def test_a_lossless_toggle_that_moves_the_result_or_its_length_is_not_taken() -> None:
    """It claims to keep the result; the outputs of the trial itself say whether it does."""
    _, report = studied(Machine(audio={"hoist=on": 0.9}))
    rows = {row.name: row for row in report.rows}
    assert rows["hoist=on"].status == "sounds worse"
    assert rows["hoist=on"].sound.heard == "not lossless"


def test_calls_take_turns() -> None:
    """Candidate, present, present, candidate: a drift falls on both alike. The first of each is warm-up."""
    machine = Machine()
    studied(machine)
    first = machine.opened[1]
    assert machine.spoke[:6] == [first, "reference", first, "reference", "reference", first]


@pytest.mark.parametrize("budget", [20.0, 60.0, 150.0, 400.0])
def test_the_budget_is_kept(budget: float) -> None:
    """Whatever the toggles take; only the calls that are under way may still end after it."""
    machine = Machine(load=4.0)
    findings, _ = studied(machine, budget=budget)
    assert findings.spent <= budget + 2.1
    assert findings.spent == machine.now
    assert len(findings.trials) + len(findings.untried) == len(FACTORS)


def test_what_there_was_no_time_for_is_listed_and_has_the_smallest_bounds() -> None:
    """Candidates go by Amdahl's bound, and what has to be compiled goes last."""
    findings, _ = studied(Machine(load=4.0), budget=60.0)
    late = {one.name for one in findings.untried}
    assert all(one.reason == "no time was left in the budget" for one in findings.untried)
    assert {"reference_cache=on", "compile=default", "vocoder_backend=onnx"} <= late
    assert "int8=dynamic" not in late


def test_a_toggle_that_hangs_is_ended_and_named() -> None:
    """It takes the time that trials have, and no more; the budget is kept."""
    findings, _ = studied(Machine(hangs={"compile=default"}), budget=300.0)
    (failed,) = [trial for trial in findings.trials if trial.error]
    assert (failed.name, failed.error) == ("compile=default", "took longer than the budget allows")
    assert findings.spent <= 302.1


def test_the_better_half_sits_again_and_longer() -> None:
    """Two pairs for all, four for the better half, six for the best of those."""
    findings, _ = studied(Machine())
    pairs = {trial.name: [len(one.rtfs) for one in trial.sittings] for trial in findings.trials}
    assert pairs["nfe=16 schedule=epss"] == [2, 4, 6]
    assert pairs["precision=bf16"] == [1]  # it took so long that one pair said enough
    assert pairs["buckets=on"][0] == 2
    assert sorted(map(len, pairs.values()), reverse=True)[:6] == [3, 3, 3, 2, 2, 1]


def test_a_present_configuration_that_does_not_load_is_an_error() -> None:
    """There is nothing to compare with."""
    machine = Machine()

    @contextlib.contextmanager
    def broken(options: Options, seconds: float) -> Iterator[Process]:
        raise UsageError("the base ended with code 1", "one that loads", "Repair it")
        yield

    bench = Bench(SENTENCE, broken, clock=lambda: machine.now)
    with pytest.raises(UsageError, match="the base ended"):
        Study(bench, Options(), profiled(), 100.0, 2.0).run(candidates())


def test_every_option_is_a_candidate_or_says_why_not() -> None:
    """None is forgotten: each option has its stages, and values or a reason."""
    fields = {field.name for field in dataclasses.fields(Options)}
    assert set(TOUCHES) == fields
    for current in (Options(), Options.fast_cpu(), Options.jetson()):
        found, refused = enumerate_all(current, "cpu", 8.0, checks=())
        named = {word.split("=")[0] for one in (*found, *refused) for word in one.name.split()}
        assert named == fields
        assert all(one.options != current for one in found)


def test_a_candidate_is_built_on_the_present_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other toggles stay, and whether it is lossless is seen from there."""
    monkeypatch.setattr("engine.advisor.candidates._extras", lambda: ["gate", "onnx"])
    present = Options(hoist=True, nfe=7, schedule="epss")
    found = {one.name: one for one in enumerate_all(present, "cpu", 1.8, checks=())[0]}
    assert found["reference_cache=on"].options == dataclasses.replace(present, reference_cache=True)
    assert found["reference_cache=on"].lossless
    assert found["hoist=off"].options == Options(nfe=7, schedule="epss")
    assert not found["nfe=6 schedule=searched"].lossless
    assert found["nfe=6 schedule=searched"].floor == pytest.approx(6 / 7)
    assert "nfe=8 schedule=searched" not in found
    assert found["compile=default"].needs == ("compiles at first use",)
    assert found["vocoder_backend=onnx"].needs == ("extra onnx",)


def test_one_value_of_every_option_goes_first_and_what_has_a_price_last() -> None:
    """Within that less work first, then by bound: many step counts do not use up all other options' time."""
    able = Ability("cpu", features=("avx2",))
    found, _ = enumerate_all(Options(), "cpu", 1.8, checks=(), ability=able)
    names = [one.name for one in in_turn(found, COSTS)]
    cheap = names[: names.index("nfe=5 schedule=searched")]
    assert {"int8=dynamic", "hoist=on", "buckets=on", "nfe=4 schedule=searched"} <= set(cheap)
    places = [cheap.index(name) for name in ("nfe=4 schedule=searched", "int8=dynamic", "reference_cache=on")]
    assert places == sorted(places)
    priced = {one.name for one in found if one.needs}
    assert set(names[-len(priced) :]) == priced
    assert {"compile=default", "precision=bf16", "vocoder_precision=fp16"} <= priced


def test_what_cannot_work_or_help_is_refused_with_the_reason() -> None:
    """A conflict, a device that cannot, a clip that is too short, an option of another call."""

    def check(options: Options, device: str) -> None:
        if options.int8 != "off":
            raise DeviceError("int8 on cuda", "a CPU", "Use another")

    present = Options(vocoder_precision="bf16")
    refused = {one.name: one.reason for one in enumerate_all(present, "cuda", 1.8, checks=(check,))[1]}
    assert refused["int8=dynamic"] == "needs a CPU"
    assert refused["vocoder_backend=onnx"].startswith("needs vocoder_precision='fp32'")
    assert refused["reference_seconds=4.0"] == "the reference clip has only 1.8 s"
    assert set(ELSEWHERE) <= set(refused)


def test_evidence_of_another_option_stands_in_and_its_absence_is_no_proof() -> None:
    """The end of an interval is seen in what guidance did."""
    seen = {"guidance": [True, "32 rows"], "hoist": [None, "no call yet"]}
    assert unproven({"guidance_until": 0.3}, seen) == {}
    assert unproven({"hoist": True, "nfe": 7}, seen) == {
        "hoist": "no call yet",
        "nfe": "there is no evidence of it",
    }


def test_the_last_words_of_a_process_are_its_error() -> None:
    """Not the traceback above them."""
    problem = UsageError("the candidate ended with code 1:\n  Traceback\n  KeyError: 'x'\n", "one", "Do")
    assert last_line(problem) == "KeyError: 'x'"


def judged(**changes: str) -> list[Judgement]:
    """Answers of the judges; by default all is well."""
    codes = {"WITHIN": 0, "WORSE": 1, "UNDECIDED": 3, "NOT JUDGED": 0}
    outcomes = {"signal": "WITHIN", "CER": "WITHIN", "speaker": "WITHIN", "MOS": "WITHIN"} | changes
    return [
        Judgement(question=name, outcome=outcome, code=codes[outcome], sentence=f"{outcome} it is.")  # type: ignore[arg-type]
        for name, outcome in outcomes.items()
    ]


@pytest.mark.parametrize(
    ("changes", "heard", "code"),
    [
        ({}, "within limits", 0),
        ({"MOS": "UNDECIDED"}, "undecided", 3),
        ({"MOS": "UNDECIDED", "CER": "WORSE"}, "worse", 1),
        ({"CER": "NOT JUDGED"}, "within limits", 0),
        (dict.fromkeys(("CER", "speaker", "MOS"), "NOT JUDGED"), "not judged", 0),
    ],
)
def test_many_answers_become_one(changes: dict[str, str], heard: str, code: int) -> None:
    """The worst one; where nobody listened, nothing was judged."""
    said = told(judged(**changes))
    assert (said.heard, said.code) == (heard, code)


def test_an_untrained_checkpoint_is_not_judged(tmp_path: Path) -> None:
    """Its speech is noise, and no process is started for it."""
    machine = Machine()
    clip = tmp_path / "clip.wav"
    material = Material("made-up", "made-up", clip, "Words.", trained=False)
    jury = Jury(material, Options(), machine.open, tmp_path)
    assert jury.hear(Options(nfe=7), 60.0).heard == "not judged"
    assert machine.opened == []


def test_a_wave_is_compared_with_another_of_its_length(tmp_path: Path) -> None:
    """The same hash is the same wave; another length, or a wave that was not kept, says nothing."""
    jury = Jury(Material("made-up", "made-up", tmp_path, ""), Options(), Machine().open, tmp_path)
    wave = np.sin(np.arange(4096, dtype=np.float32) / 9)
    for name, samples in {"a": wave, "b": 0.9 * wave, "c": wave[:3000]}.items():
        samples.astype(np.float32).tofile(tmp_path / f"{name}.f32")
    assert jury.moved("a", "a") == 0
    assert (jury.moved("a", "b") or 0) > 1e-3
    assert jury.moved("a", "c") is None
    assert jury.moved("a", "gone") is None


def test_hearing_that_would_take_too_long_is_no_verdict() -> None:
    """What was never judged is marked so, not passed."""
    findings, _ = studied(Machine(load=2.0), budget=120.0, target=0.1)
    late = [trial for trial in findings.trials if "no time was left" in trial.sound.sentence]
    assert late
    assert all(trial.sound.heard == "not judged" for trial in late)


@pytest.mark.parametrize(
    ("moved", "heard", "code"),
    [((1e-5, None), "lossless", 0), ((1e-5, 0.5), "not lossless", 1), ((None,), "not judged", 0)],
)
def test_a_set_is_lossless_as_far_as_its_worst_output(
    moved: tuple[float | None, ...], heard: str, code: int
) -> None:
    """Relative mel L2 against the gate's own limit; outputs that cannot be compared say nothing."""
    said = kept([sitting({}, moved=one) for one in moved], Limits.model_validate({}))
    assert (said.heard, said.code) == (heard, code)


class Speaking:
    """A process whose waves are as long as the text, or shorter where it skips words."""

    described: Mapping[str, Any] = {}

    def __init__(self, folder: Path, length: float) -> None:
        self.folder, self.length = folder, length

    def call(self, sentence: Sentence, voice: Reference | None = None) -> Call:
        """A tone that depends on the seed, kept like the worker keeps its waves."""
        count = int(1600 * len(sentence.text) * self.length)
        wave = (0.1 * np.sin(np.arange(count) * (0.05 + 0.001 * sentence.seed))).astype(np.float32)
        output = hashlib.sha256(wave.tobytes()).hexdigest()
        wave.tofile(self.folder / f"{output}.f32")
        return Call(seconds=1.0, audio_seconds=count / 24_000, host_mb=1.0, output=output)

    def finish(self) -> Mapping[str, Any]:
        """Nothing to say."""
        return {}


def jury(folder: Path, clip: Path, lengths: Mapping[int, float], opened: list[int]) -> Jury:
    """A jury without judges of its own, whose sets speak for a share of the time, by their nfe."""

    @contextlib.contextmanager
    def start(options: Options, seconds: float) -> Iterator[Speaking]:
        opened.append(options.nfe)
        if options.nfe not in lengths:
            raise UsageError("the candidate ended with code 1:\n  KeyError: 1\n", "one that speaks", "Repair")
        yield Speaking(folder, lengths[options.nfe])

    def judge(items: Sequence[Item], panel: Panel, workers: int) -> Sequence[Scores]:
        return judge_all(items, Panel(panel.references, ()), 1)

    material = Material(
        "made-up", "made-up", clip, "Words.", voices={"a": Reference(clip, "Words.")}, languages=("en",)
    )
    return Jury(material, Options(), start, folder, judge=judge)


def test_a_jury_hears_the_present_configuration_once_and_names_what_is_wrong(
    tmp_path: Path, clip: Path
) -> None:
    """Speech that is cut short is worse; speech that nobody can judge is not called good."""
    opened: list[int] = []
    heard = jury(tmp_path, clip, {32: 1.0, 7: 1.0, 6: 0.7}, opened)
    assert heard.hear(Options(nfe=7), 60.0).heard == "not judged"
    short = heard.hear(Options(nfe=6), 60.0)
    assert (short.heard, short.code) == ("worse", 1)
    assert "duration" in short.sentence
    assert opened == [32, 7, 6]


def test_a_set_that_ends_while_it_speaks_is_not_judged(tmp_path: Path, clip: Path) -> None:
    """With its last words as the reason."""
    said = jury(tmp_path, clip, {32: 1.0}, []).hear(Options(nfe=7), 60.0)
    assert (said.heard, said.sentence) == ("not judged", "Not judged: KeyError: 1.")
