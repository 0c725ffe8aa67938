"""Speech to calibrate the quality gate with: spoken, spoiled on purpose, and judged; kept on disk as it goes.

A cell is one text in one voice. Its takes are the same words with other seeds, harmless changes of the
first take, and faults. Waves are kept under what determines them (weights, options, text, voice, seed), what
the judges heard under the output's own hash and the judges' sources: an interrupted study goes on where it
stopped.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from engine.audio import SAMPLE_RATE, Samples
from engine.errors import UsageError
from engine.gate.data.files import write_atomically
from engine.gate.data.scores import Distances, Scores
from engine.gate.data.texts import choose
from engine.gate.data.workloads import Frozen, sha256_of
from engine.gate.quality import judges
from engine.gate.quality.judges.panel import Impression, listen, score
from tests.studies.degradations import FAULTS, HARMLESS, broken_int8, last_word

if TYPE_CHECKING:
    from engine.synthesis import Engine

FIRST = "seed 0"
LONG = 120
"""Characters, beyond which a text is spoken in one voice only."""
AGAIN = "spoken again"
INT8 = "int8 with broken scales"
UNSAID = "last word never said"
_SHOPPING = (
    "Six spoons of fresh snow peas, five thick slabs of blue cheese, and maybe a snack for her brother Bob."
)
RECORDINGS = {
    "basic/basic_ref_en.wav": "Some call me nature, others call me mother nature.",
    "multi/country.flac": _SHOPPING,
    "multi/main.flac": _SHOPPING,
    "multi/town.flac": "The difference in the rainbow depends considerably upon the size of the drops, and "
    "the width of the colored band increases as the size of the drops increases.",
    "basic/basic_ref_zh.wav": "对，这就是我，万人敬仰的太乙真人。",
}
"""Clips inside the f5-tts package and what they say (two upstream transcripts, two well-known passages)."""
HEARD_BY = ("words", "speaker", "mos", "resample")
"""Modules of `judges` whose sources decide what is heard; the pure ones are asked anew each time."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One text in one voice; `spoiled` cells get faults too. A `recording` is read, not spoken."""

    text: str
    voice: str
    spoiled: bool = True
    recording: Path | None = None


class Take(Frozen):
    """One rendering of a cell, judged; `distance` from the first take where both have the same noise."""

    scores: Scores
    distance: Distances | None = None


Takes = dict[str, Take]
"""The takes of a cell by name: `seed 0`, `spoken again`, or the name of a fault or harmless change."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What is spoken and where it is kept; plain data, so that it can be sent to other processes."""

    checkpoint: str
    options: str
    seeds: int
    folder: Path

    def broken(self) -> Path:
        """The folder of the checkpoint with broken int8 weights, made on first use."""
        from engine import checkpoint

        source = checkpoint.find(self.checkpoint).weights.parent
        target = self.folder / f"int8-{_digest(self)}"
        if not (target / "done").is_file():
            broken_int8(source, target)
            (target / "done").touch()
        return target


def cells(study: Study, texts: int = 0) -> list[Cell]:
    """Every pinned text that the checkpoint speaks (or the `texts` shortest) in each of its voices.

    One voice of each text, in turn, is spoiled. A long text is spoken in that one alone: it takes as long as
    all others.
    """
    from engine import checkpoint

    found = checkpoint.find(study.checkpoint)
    voices = list(found.references)
    chosen = sorted(choose(found.languages).cases, key=lambda case: len(case.text))
    return [
        Cell(case.text, voice, spoiled=number == at % len(voices))
        for at, case in enumerate(chosen[: texts or None])
        for number, voice in enumerate(voices)
        if len(case.text) <= LONG or number == at % len(voices)
    ]


def recordings(folder: Path | None = None) -> list[Cell]:
    """Recorded speech: the clips of the f5-tts package, and each WAV of `folder` with a text file beside it.

    Raises:
        UsageError: no such folder, no WAV in it, or one without its text.
    """
    from engine import upstream

    found = {upstream.shipped(f"infer/examples/{name}"): text for name, text in RECORDINGS.items()}
    for path in sorted(folder.glob("*.wav")) if folder else []:
        if not path.with_suffix(".txt").is_file():
            raise UsageError(f"{path} without {path.stem}.txt", "the words of each WAV beside it", "Add it")
        found[path] = path.with_suffix(".txt").read_text(encoding="utf8").strip()
    if folder and len(found) == len(RECORDINGS):
        raise UsageError(f"folder {folder}", "a folder with WAV files", "Correct --clips")
    return [Cell(text, path.stem, recording=path) for path, text in found.items()]


def judge_cells(
    study: Study, wanted: list[Cell], workers: int, report: Callable[[Cell], None] = lambda cell: None
) -> dict[Cell, Takes]:
    """Speak, spoil and judge every cell, longest first, over `workers` processes of one thread each."""
    study.folder.mkdir(parents=True, exist_ok=True)
    study.broken()
    found: dict[Cell, Takes] = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        longest = sorted(wanted, key=lambda cell: -len(cell.text))
        jobs = {pool.submit(judge_cell, study, cell): cell for cell in longest}
        for job in as_completed(jobs):
            found[jobs[job]] = job.result()
            report(jobs[job])
    return {cell: found[cell] for cell in wanted}


def judge_cell(study: Study, cell: Cell) -> Takes:
    """All takes of one cell, judged."""
    opened = _judges(study)
    waves = dict(_waves(study, cell))
    first = waves[FIRST]
    if cell.recording is not None and opened.speaker is not None:
        own = opened.speaker.embed(first[: len(first) // 2])  # the only other speech of this speaker
        opened = dataclasses.replace(opened, prints={**opened.prints, cell.voice: own})
    found = {}
    for name, samples in waves.items():
        scores = _scores(study, judges.Item(samples, cell.text, cell.voice), opened)
        same_noise = name != FIRST and not name.startswith("seed") and bool(np.isfinite(samples).all())
        found[name] = Take(scores=scores, distance=judges.distances(first, samples) if same_noise else None)
    return found


def _waves(study: Study, cell: Cell) -> Iterator[tuple[str, Samples]]:
    """The takes of a cell, the first one first."""
    if cell.recording is not None:
        first = read(cell.recording)
        yield FIRST, first
    else:
        first = _spoken(study, cell, 0)
        yield FIRST, first
        for seed in range(1, study.seeds):
            yield f"seed {seed}", _spoken(study, cell, seed)
    if not cell.spoiled:
        return
    if cell.recording is None:
        yield AGAIN, _spoken(study, cell, 0, "again")
        yield INT8, _spoken(study, cell, 0, "int8")
        yield UNSAID, _spoken(study, cell, 0, "unsaid")
    for name, change in {**HARMLESS, **FAULTS}.items():
        chance = np.random.default_rng(zlib.crc32(f"{name} {cell.voice} {cell.text}".encode()))
        yield name, change(first, cell.text, chance)


def _spoken(study: Study, cell: Cell, seed: int, how: str = "") -> Samples:
    """One wave, from disk where it was spoken before."""
    content = [_digest(study), study.options, cell.text, cell.voice, seed, how]
    path = study.folder / "waves" / f"{sha256_of(content)}.npy"
    if path.is_file():
        return np.asarray(np.load(path), np.float32)
    engine = _engine(study, how == "int8")
    if how == "unsaid":
        samples = _without_last_word(engine, cell, seed, len(_spoken(study, cell, seed)))
    else:
        samples = engine.synthesize(cell.text, cell.voice, seed=seed).samples
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}.npy")
    np.save(scratch, samples)
    scratch.replace(path)
    return samples


def _without_last_word(engine: Engine, cell: Cell, seed: int, length: int) -> Samples:
    """The text but for its last word, so slow that it is `length` samples long: no silence and no cut."""
    text, ending = cell.text[: last_word(cell.text).start()].rstrip(" ,-"), cell.text[-1]
    text += ending if ending in ".!?" else ""
    natural = len(engine.synthesize(text, cell.voice, seed=seed).samples)
    slow = engine.synthesize(text, cell.voice, seed=seed, speed=natural / length).samples
    return np.pad(slow, (0, max(0, length - len(slow))))[:length]


def _scores(study: Study, item: judges.Item, opened: judges.Judges) -> Scores:
    """What the judges say of one output, from disk where it was heard before; what is pure is said anew."""
    prints = {voice: hashlib.sha256(known.tobytes()).hexdigest() for voice, known in opened.prints.items()}
    path = study.folder / "heard" / f"{sha256_of([item.output, prints, _sources()])}.json"
    adapter = TypeAdapter(Impression)
    if path.is_file():
        impression = adapter.validate_json(path.read_bytes())
        impression = dataclasses.replace(impression, signal=judges.inspect(item.samples))
    else:
        impression = listen(item.samples, opened)
        write_atomically(path, adapter.dump_json(impression))
    return score(item, impression)


def read(path: Path) -> Samples:
    """A recording, mono, at 24 kHz."""
    import soundfile
    import soxr

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE), np.float32)


@functools.cache
def _digest(study: Study) -> str:
    """What the checkpoint is, by content."""
    from engine import checkpoint

    return checkpoint.find(study.checkpoint).digest()


@functools.cache
def _engine(study: Study, broken: bool) -> Engine:
    """The engine of this process; loaded once."""
    from engine.loading import load
    from engine.options import Options

    return load(
        str(study.broken()) if broken else study.checkpoint, Options.parse(study.options), device="cpu"
    )


@functools.cache
def _judges(study: Study) -> judges.Judges:
    """The judges of this process; opened once. All are required: a record without one proves nothing."""
    from engine import checkpoint
    from engine.reference import Voice

    def samples(voice: Voice) -> Samples:
        return read(Path(str(voice.audio)))

    clips = {name: samples(voice) for name, voice in checkpoint.find(study.checkpoint).references.items()}
    return judges.open_panel(judges.Panel(clips, required=judges.ALL))


@functools.cache
def _sources() -> str:
    """Hash of the code behind kept scores."""
    folder = Path(judges.__file__).parent
    return sha256_of([(folder / f"{name}.py").read_text(encoding="utf8") for name in HEARD_BY])


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
