"""The quality gate as a detector, on real speech: every seeded fault fails, nothing harmless does.

The fast tests spoil the voice's own reference clips, and ask only the judge that must catch the fault;
the slow one speaks, and asks all. How often it works over texts and voices is in the calibration.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import checkpoint
from engine.audio import Samples
from engine.gate.data.scores import Scores
from engine.gate.data.verdict import Judgement
from engine.gate.quality import judges
from engine.gate.quality.differences import Pair, compare
from tests.studies.calibrate_quality import CAUGHT, FALSE_ALARMS, shipped_limits
from tests.studies.degradations import FAULTS, HARMLESS
from tests.studies.quality_corpus import AGAIN, FIRST, INT8, Cell, Study, Take, judge_cell, read
from tests.studies.quality_trials import ANOTHER_SEED, CLEAN, FAULTY, WRONG_VOICE

PACKAGES = ("pocketsphinx", "jiwer", "resemblyzer", "speechmos", "onnxruntime")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs the [quality] extra: {', '.join(MISSING)}")

RECORD = Path(__file__).parents[2] / "baselines" / "quality-calibration.json"
LIMITS = shipped_limits(RECORD.parent / "portable.json")

CAUGHT_BY = {
    "last word cut off": (None, "duration"),
    "last word silent": (None, "signal"),
    "white noise at 3 dB SNR": ("mos", "MOS"),
    "clipping": (None, "signal"),
    "clipping below full scale": (None, "signal"),
    "click at the join": (None, "signal"),
    "10 % faster, resampled": (None, "duration"),
    "10 % faster, same pitch": (None, "duration"),
    "one NaN frame": (None, "signal"),
    "chunks swapped": ("words", "CER"),
}
"""Each fault with the judge that is opened (None: none is needed) and the question that must fail."""


@dataclasses.dataclass(frozen=True)
class Clips:
    """The reference clips of the voice in the box, judges opened once, and what each said of the clips."""

    samples: dict[str, Samples]
    texts: dict[str, str]
    opened: judges.Judges
    base: dict[str | None, dict[str, Scores]] = dataclasses.field(default_factory=dict)

    def judged(self, change: Callable[[str, Samples], Samples], only: str | None) -> dict[str, Scores]:
        """Each clip changed and judged by one judge (None: by the signal alone)."""
        asked = {name: getattr(self.opened, name) if name == only else None for name in judges.ALL}
        prints = self.opened.prints if only == "speaker" else {}
        missing = {name: "not asked" for name in judges.ALL if name != only}
        few = dataclasses.replace(self.opened, **asked, prints=prints, missing=missing)
        return {
            voice: judges.judge(judges.Item(change(voice, samples), self.texts[voice], voice), few)
            for voice, samples in self.samples.items()
        }

    def compared(self, change: Callable[[str, Samples], Samples], only: str | None) -> dict[str, Judgement]:
        """The clips as they are against the changed ones, by question."""
        if only not in self.base:
            self.base[only] = self.judged(lambda voice, samples: samples, only)
        base, candidate = self.base[only], self.judged(change, only)
        pairs = [
            Pair(
                case=voice, text=self.texts[voice], voice=voice, base=base[voice], candidate=candidate[voice]
            )
            for voice in self.samples
        ]
        return {one.question: one for one in compare(pairs, LIMITS, lossless=False)}


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Four voices, one clip each."""
    found = checkpoint.find(checkpoint.DEFAULT_CHECKPOINT).references
    samples = {name: read(Path(str(voice.audio))) for name, voice in found.items()}
    opened = judges.open_panel(judges.Panel(samples, required=judges.ALL))
    return Clips(samples, {name: voice.text for name, voice in found.items()}, opened)


def made(change: Any, clips: Clips) -> Callable[[str, Samples], Samples]:
    """A change of the catalogue as a function of voice and samples."""
    return lambda voice, samples: change(samples, clips.texts[voice], np.random.default_rng(0))


def failed(found: dict[str, Judgement]) -> set[str]:
    """The questions with exit code 1."""
    return {name for name, one in found.items() if one.code == 1}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_caught_by_the_judge_it_is_for(fault: str, clips: Clips) -> None:
    """Four clips, one judge: the run fails, and the question that fails is the right one."""
    only, question = CAUGHT_BY[fault]
    found = clips.compared(made(FAULTS[fault], clips), only)
    assert question in failed(found), found[question]


def test_a_broken_signal_in_one_clip_is_enough(clips: Clips) -> None:
    """What is wrong whatever is said needs no average."""
    name = "kal16"  # whose clip has a quiet place for the click; inside a loud sound it is missed

    def spoilt(fault: str) -> Callable[[str, Samples], Samples]:
        spoil = made(FAULTS[fault], clips)
        return lambda voice, samples: spoil(voice, samples) if voice == name else samples

    for fault in ("one NaN frame", "clipping", "click at the join"):
        found = clips.compared(spoilt(fault), None)
        assert failed(found) == {"signal"}, fault
        assert name in found["signal"].sentence


def test_a_stale_voice_is_caught(clips: Clips) -> None:
    """Each case in the voice of the one before it, as from a cache with a bad key."""
    voices = list(clips.samples)
    before = dict(zip(voices, voices[-1:] + voices[:-1], strict=True))
    found = clips.compared(lambda voice, samples: clips.samples[before[voice]], "speaker")
    assert "speaker" in failed(found)


@pytest.mark.parametrize("change", list(HARMLESS))
def test_a_harmless_change_does_not_fail(change: str, clips: Clips) -> None:
    """Not by any judge."""
    for only in (None, *judges.ALL):
        assert not failed(clips.compared(made(HARMLESS[change], clips), only)), only


TEXTS = ("Wait, do not open that door yet!", "Small boats waited in the harbor.")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, dict[str, Take]]:
    """Two texts in four voices, spoken at a few steps, spoiled, and judged by all judges."""
    study = Study("box", "nfe=5 schedule=epss", 2, tmp_path_factory.mktemp("study"))
    voices = checkpoint.find(study.checkpoint).references
    return {cell: judge_cell(study, cell) for cell in (Cell(t, voice) for t in TEXTS for voice in voices)}


def answers(
    spoken: dict[Cell, dict[str, Take]], name: str, base: str = FIRST, lossless: bool = False
) -> dict[str, Judgement]:
    """All cells, one take against another."""
    pairs = [
        Pair(
            case=f"{at}",
            text=cell.text,
            voice=cell.voice,
            base=takes[base].scores,
            candidate=takes[name].scores,
            distance=takes[name].distance if base == FIRST else None,
        )
        for at, (cell, takes) in enumerate(spoken.items())
    ]
    return {one.question: one for one in compare(pairs, LIMITS, lossless=lossless)}


@pytest.mark.slow
def test_spoken_faults_are_caught_and_reruns_are_not(spoken: dict[Cell, dict[str, Take]]) -> None:
    """Eight outputs a run, all judges: faults of the wave and of the weights fail, clean takes do not."""
    assert not failed(answers(spoken, AGAIN, lossless=True))
    assert not failed(answers(spoken, "seed 1"))
    for name in HARMLESS:
        assert not failed(answers(spoken, name)), name
    for name in (*FAULTS, INT8):
        assert failed(answers(spoken, name)), name


class TestRecord:
    """The committed calibration: what it claims is what it holds, and a miss is there for all to see."""

    @pytest.fixture(scope="class")
    def record(self) -> dict[str, Any]:
        """The committed record."""
        found: dict[str, Any] = json.loads(RECORD.read_text())
        return found

    def test_every_change_is_in_it(self, record: dict[str, Any]) -> None:
        """In both set sizes."""
        for size in record["sets"].values():
            named = {row["change"] for row in record["rows"] if row["size"] == size}
            assert named == {*CLEAN, *FAULTY}
        assert {row["change"] for row in record["on recordings"]} == {*HARMLESS, *FAULTS}

    def test_targets_are_met_or_counted_as_missed(self, record: dict[str, Any]) -> None:
        """Rate and bound decide, nothing else; those with a fault in one clip only have no target."""
        held = [row for row in record["rows"] if row["extent"] == "every clip"]
        for row in held:
            found = row["failed"]
            if row["change"] in CLEAN:
                met = max(found["rate"], found["high_95"]) <= FALSE_ALARMS
            else:
                met = min(found["rate"], found["low_95"]) >= CAUGHT
            assert row["met"] == met, row["change"]
        assert record["targets"] == len(held)
        assert record["targets_met"] == sum(row["met"] for row in held)
        assert all(row["met"] is None for row in record["rows"] if row not in held)

    def test_the_claims_of_the_gate_hold_against_the_same_noise(self, record: dict[str, Any]) -> None:
        """As the gate compares, with the same seeds in both arms: no false alarm, no miss in the full set."""
        full = [
            row
            for row in record["rows"]
            if row["size"] == record["sets"]["full"] and row["extent"] == "every clip"
        ]
        for row in full:
            if row["change"] == ANOTHER_SEED:  # its bound is in the record; few texts leave it wide
                assert row["failed"]["rate"] <= FALSE_ALARMS, row["failed"]
            elif row["noise"] == "same":
                assert row["met"], (row["change"], row["failed"])
        assert {WRONG_VOICE, INT8} <= {row["change"] for row in full}

    def test_limits_are_those_of_this_code(self, record: dict[str, Any]) -> None:
        """Other limits are another detector."""
        assert record["limits"] == LIMITS.model_dump()
