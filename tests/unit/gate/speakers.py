"""Made-up speech for the quality pass: a wave for each request, without a model; faults are arguments."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio import SAMPLE_RATE, Samples
from engine.gate.data import texts
from engine.gate.data.outputs import Quality
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import ARMS, Arm, Call, Process, Run, Series, Work
from engine.gate.data.workloads import SENTENCES, Sentence
from engine.gate.measure.process import Opener, Reference
from engine.gate.quality import quality_pass
from engine.gate.quality.judges import ALL, Item, Mos, Panel, Scores, Signal, WordErrors, hash_of
from engine.gate.quality.quality_pass import Audition
from tests.unit.gate import builders

VOICES = {name: Reference(Path(f"{name}.wav"), f"Words of {name}.") for name in ("one", "two", "three")}
CLEAN = Signal(
    finite=True, clipped=0.0, dc=0.0, loudness_dbfs=-20.0, silent_head_s=0.0, silent_tail_s=0.0,
    longest_silence_s=0.05, click=1.0, click_at_s=0.0, frozen_s=0.0,
)  # fmt: skip

RELATIVE = builders.RELATIVE.model_copy(update={"quality": Limits()})
SELECTION = builders.selection(builders.portable().model_copy(update={"relative": RELATIVE}))

Request = tuple[str, str, int]
"""Text, voice and seed."""
Wave = Callable[[str, str, int], Samples]
Pace = Callable[[Request, Sequence[Request]], float]
"""Seconds that a request takes, given all that the same process was asked before."""


def wave(text: str, voice: str, seed: int) -> Samples:
    """Noise with a syllable's rhythm, as long as the text, of its own for each text, voice and seed."""
    digest = hashlib.sha256(f"{text}|{voice}|{seed}".encode()).digest()
    random = np.random.default_rng(np.frombuffer(digest, np.uint32))
    time = np.arange(int(SAMPLE_RATE * len(text) / 40)) / SAMPLE_RATE
    loud = 0.05 * (1.2 + np.sin(2 * np.pi * 4 * time))
    return np.asarray(loud * random.standard_normal(time.size), np.float32)


def truncated(text: str, voice: str, seed: int) -> Samples:
    """A wave that ends early: less work."""
    return wave(text, voice, seed)[: -len(wave(text, voice, seed)) // 5]


def steady(request: Request, known: Sequence[Request]) -> float:
    """A second for everything."""
    return 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Arms:
    """What each arm answers, and how long each takes."""

    base: Wave = wave
    candidate: Wave = wave
    base_pace: Pace = steady
    candidate_pace: Pace = steady


class Speaker:
    """A process that speaks, and keeps its waves in a folder."""

    def __init__(self, answer: Wave, seconds: Pace, folder: Path) -> None:
        self._answer, self._seconds, self._folder = answer, seconds, folder
        self._known: list[tuple[str, str, int]] = []
        self.described: Mapping[str, Any] = {
            "weights": builders.WEIGHTS,
            "options": {},
            "trained": True,
            "versions": {"torch": "2.13.0"},
            "threads": 4,
            "load_seconds": 1.0,
        }

    def call(self, sentence: Sentence, voice: Reference | None = None, seed: int | None = None) -> Call:
        """Speak once."""
        request = (sentence.text, voice.clip.stem if voice else "one", seed or sentence.seed)
        samples = self._answer(*request)
        (self._folder / f"{hash_of(samples)}.f32").write_bytes(samples.tobytes())
        seconds = self._seconds(request, self._known)
        self._known.append(request)
        return Call(
            seconds=seconds,
            audio_seconds=len(samples) / SAMPLE_RATE,
            host_mb=500.0,
            output=hash_of(samples),
            seed=request[2],
            place=0,
        )

    def count(self, sentence: Sentence) -> Work:
        """What every text costs."""
        return builders.WORK

    def finish(self) -> Mapping[str, Any]:
        """No evidence, no peaks."""
        return {"evidence": {}, "first_call_seconds": 1.0, "peak_host_mb": None, "peak_device_mb": None}


def opening(arms: Arms) -> quality_pass.OpenOutputs:
    """Starts speakers that keep their waves in a folder."""

    @contextlib.contextmanager
    def open_outputs(folder: Path) -> Iterator[Opener]:
        answers = {"base": (arms.base, arms.base_pace), "candidate": (arms.candidate, arms.candidate_pace)}
        yield lambda arm: contextlib.nullcontext(Speaker(*answers[arm], folder))

    return open_outputs


def heard(items: Sequence[Item], panel: Panel, workers: int = 1, report: Any = None) -> tuple[Scores, ...]:
    """Judges without ears: good scores for everything, so that only the bytes tell the arms apart."""
    return tuple(
        Scores(
            output=item.output,
            seconds=len(item.samples) / SAMPLE_RATE,
            voice=item.voice,
            signal=CLEAN,
            words=WordErrors(word_edits=1, words=10, char_edits=2, chars=50),
            similarities={name: 0.8 if name == item.voice else 0.5 for name in VOICES},
            mos=Mos(ovrl=3.0, sig=3.3, bak=3.8, p808=3.0),
        )
        for item in items
    )


def prepared(probes: int = 3, seed: int = 5, names: Sequence[str] = ("short", "medium")) -> Audition:
    """Eight English cases in three voices, and the timed sentences of these names."""
    return Audition(
        cases=texts.choose(("en",), texts.QUICK).cases,
        sentences=tuple(sentence for sentence in SENTENCES if sentence.name in names),
        voices=VOICES,
        panel=Panel({}, ALL),
        missing={},
        skipped=("zh hello: left out",),
        seed=seed,
        probes=probes,
    )


def processes(
    folder: Path, answers: Mapping[Arm, Wave] | None = None, ratio: float = 1.0, blocks: int = 3
) -> tuple[Process, ...]:
    """Timed blocks of live pairs. The waves are in the folder."""

    def saying(arm: Arm, series: Series) -> Series:
        sentence = next(one for one in SENTENCES if one.name == series.workload)
        calls = []
        for call in series.calls:
            samples = (answers or {}).get(arm, wave)(sentence.text, "one", call.seed)
            (folder / f"{hash_of(samples)}.f32").write_bytes(samples.tobytes())
            length = len(samples) / SAMPLE_RATE
            update = {"output": hash_of(samples), "audio_seconds": length, "seconds": call.rtf * length}
            calls.append(call.model_copy(update=update))
        return series.model_copy(update={"calls": tuple(calls)})

    return tuple(
        process.model_copy(update={"series": tuple(saying(process.arm, series) for series in process.series)})
        for process in builders.processes(ratio, blocks=blocks, calls=4)
    )


def held(
    folder: Path,
    arms: Arms | None = None,
    timed: Mapping[Arm, Wave] | None = None,
    judge: quality_pass.Judge = heard,
    ratio: float = 1.0,
    blocks: int = 3,
    **changes: Any,
) -> Run:
    """A run with its quality pass: what arms answer when judged, and when `timed` (the same if not given)."""
    arms = arms or Arms()
    measured = processes(folder, timed or {arm: getattr(arms, arm) for arm in ARMS}, ratio, blocks)
    quality: Quality = quality_pass.hold(
        prepared(), opening(arms), measured, folder, {}, lambda said: None, judge
    )
    return builders.run(measured, quality=quality, **changes)
