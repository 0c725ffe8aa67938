"""Made-up runs of the quality gate on judged speech, resampled by text and by voice. Pure functions.

One trial is one gate run: texts and voices are drawn with replacement, each text gets one of the drawn
voices, and the pairs are compared as the gate does it. Takes of one text, or of one voice, resemble each
other, so the bounds of a rate come from corpora whose texts and voices are drawn again (the pigeonhole
bootstrap, doi:10.1214/07-AOAS122), and are never tighter than the exact ones of as many independent trials
(Clopper-Pearson). What a bootstrap cannot know is speech unlike all of this; `apart` says how little is
certain from runs that share no clip.
"""

from __future__ import annotations

import collections
import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from engine.gate.data.quality_limits import Limits
from engine.gate.data.scores import Scores
from engine.gate.data.verdict import Judgement
from engine.gate.quality.differences import Pair, compare
from tests.studies.degradations import FAULTS, HARMLESS
from tests.studies.quality_corpus import AGAIN, FIRST, INT8, UNSAID, Cell, Takes

ANOTHER_SEED = "another seed"
WRONG_VOICE = "wrong voice"
CLEAN = (ANOTHER_SEED, AGAIN, *HARMLESS)
FAULTY = (*FAULTS, UNSAID, WRONG_VOICE, INT8)
RUNS = 25
"""Trials in a bootstrap corpus."""

Judged = Mapping[Cell, Takes]
Noise = Literal["same", "other"]
Extent = Literal["every clip", "one clip"]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What the candidate does, in a gate run of `size` cases.

    Attributes:
        change: a name of CLEAN or FAULTY.
        noise: whether base and candidate drew the same noise; other noise is the harder comparison.
        extent: whether every clip of the candidate is changed or only one.
        lossless: held to the limits of a lossless toggle.
    """

    change: str
    size: int
    noise: Noise = "same"
    extent: Extent = "every clip"
    lossless: bool = False

    @property
    def clean(self) -> bool:
        """Whether it must pass."""
        return self.change in CLEAN


def scenarios(sizes: tuple[int, ...]) -> Iterator[Scenario]:
    """Every change, in sets of each size; faults against the same and against other noise."""
    for size in sizes:
        yield Scenario(ANOTHER_SEED, size, "other")
        yield Scenario(AGAIN, size, lossless=True)
        for change in HARMLESS:
            yield Scenario(change, size)
        for change in FAULTY:
            for noise in ("same", "other"):
                yield Scenario(change, size, noise)
        for change in FAULTY:
            yield Scenario(change, size, "same", "one clip")


@dataclasses.dataclass(frozen=True)
class Trials:
    """Outcomes of all trials of one scenario: exit codes [corpora, runs], and questions failed, counted."""

    codes: NDArray[np.int64]
    by: Mapping[str, int]


def try_scenario(
    scenario: Scenario,
    judged: Judged,
    limits: Limits,
    corpora: int | None = None,
    runs: int = RUNS,
    seed: int = 0,
) -> Trials:
    """Simulate gate runs of one scenario; its own name seeds it, so one alone gives the same result.

    Rarer events need more corpora, so clean scenarios get twice as many.
    """
    corpora = corpora or (40 if scenario.clean else 20)
    generator = np.random.default_rng([seed, zlib.crc32(repr(scenario).encode())])
    usable = _usable(scenario, judged)
    codes, by = np.zeros((corpora, runs), np.int64), collections.Counter[str]()
    for corpus in range(corpora):
        texts, voices = _redrawn(usable, generator)
        for run in range(runs):
            drawn = [_draw(usable, texts, voices, generator) for _ in range(scenario.size)]
            said = _ask(scenario, drawn, judged, limits, generator)
            codes[corpus, run] = _code(said)
            by.update(judgement.question for judgement in said if judgement.code == 1)
    return Trials(codes, by)


def apart(scenario: Scenario, judged: Judged, limits: Limits, seed: int = 0) -> NDArray[np.int64]:
    """Exit codes of runs that share no clip: as many as the corpus has."""
    generator = np.random.default_rng(seed)
    usable = [cell for cells in _usable(scenario, judged).values() for cell in cells.values()]
    order = generator.permutation(len(usable))
    starts = range(0, len(usable) - scenario.size + 1, scenario.size)
    runs = [[usable[at] for at in order[start : start + scenario.size]] for start in starts]
    return np.array([_code(_ask(scenario, run, judged, limits, generator)) for run in runs], np.int64)


def on_recordings(change: str, judged: Judged, limits: Limits) -> Trials:
    """One change to few recordings: a run of all, and one without each. Too few to resample, so no rates."""
    generator, every = np.random.default_rng(0), [cell for cell, takes in judged.items() if change in takes]
    runs = [every, *([other for other in every if other != cell] for cell in every)]
    answers = [_ask(Scenario(change, len(run)), run, judged, limits, generator) for run in runs]
    by = collections.Counter(one.question for said in answers for one in said if one.code == 1)
    return Trials(np.array([[_code(said) for said in answers]], np.int64), by)


def rate(events: NDArray[np.bool_]) -> dict[str, Any]:
    """The rate of an event [corpora, runs] with one-sided 95 % bounds.

    The spread of the corpora's rates is corrected for their own finite number of trials.
    """
    runs, mean = events.size, float(events.mean())
    exact = stats.binomtest(int(events.sum()), runs).proportion_ci(confidence_level=0.90, method="exact")
    rates = events.mean(axis=1)
    total, within = float(rates.var()), mean * (1 - mean) / events.shape[1]
    shrunk = mean + (rates - mean) * np.sqrt(max(0.0, 1 - within / total)) if total else rates
    return {
        "events": int(events.sum()),
        "runs": runs,
        "rate": mean,
        "low_95": float(min(exact.low, np.quantile(shrunk, 0.05))),
        "high_95": float(max(exact.high, np.quantile(shrunk, 0.95))),
    }


def _ask(
    scenario: Scenario, drawn: list[Cell], judged: Judged, limits: Limits, generator: np.random.Generator
) -> tuple[Judgement, ...]:
    """What the gate says of a run over these cells."""
    return compare(list(_pairs(scenario, drawn, judged, generator)), limits, lossless=scenario.lossless)


def _code(said: tuple[Judgement, ...]) -> int:
    """The exit code of a run: a fault outweighs doubt."""
    codes = {judgement.code for judgement in said}
    return 1 if 1 in codes else max(codes)


def _usable(scenario: Scenario, judged: Judged) -> dict[str, dict[str, Cell]]:
    """Text -> voice -> cell, of those in which the change was made."""
    spoken = collections.Counter(cell.text for cell in judged)
    found: dict[str, dict[str, Cell]] = collections.defaultdict(dict)
    for cell, takes in judged.items():
        makeable = {ANOTHER_SEED: "seed 1" in takes, WRONG_VOICE: spoken[cell.text] > 1}
        if makeable.get(scenario.change, scenario.change in takes):
            found[cell.text][cell.voice] = cell
    return found


def _redrawn(
    usable: Mapping[str, Mapping[str, Cell]], generator: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Texts and voices of one bootstrap corpus: as many as there are, with replacement."""
    texts = list(usable)
    voices = list(dict.fromkeys(voice for cells in usable.values() for voice in cells))
    return list(generator.choice(texts, len(texts))), list(generator.choice(voices, len(voices)))


def _draw(
    usable: Mapping[str, Mapping[str, Cell]],
    texts: list[str],
    voices: list[str],
    generator: np.random.Generator,
) -> Cell:
    """A cell of the corpus: a text, and one of the drawn voices that say it (any, where none does)."""
    cells = usable[texts[generator.integers(len(texts))]]
    able = [voice for voice in voices if voice in cells] or list(cells)
    return cells[able[generator.integers(len(able))]]


def _pairs(
    scenario: Scenario, drawn: list[Cell], judged: Judged, generator: np.random.Generator
) -> Iterator[Pair]:
    """The cases of one gate run."""
    only = int(generator.integers(len(drawn))) if scenario.extent == "one clip" else None
    for at, cell in enumerate(drawn):
        takes = judged[cell]
        seeds = [name for name in takes if name.startswith("seed")]
        base, candidate = FIRST, scenario.change if only in (None, at) else FIRST
        if scenario.change == ANOTHER_SEED:
            base, candidate = generator.choice(seeds, 2, replace=False)
        elif scenario.noise == "other":
            base = str(generator.choice(seeds[1:]))
        wrong = candidate == WRONG_VOICE
        scores = _in_wrong_voice(cell, judged, generator) if wrong else takes[candidate].scores
        distance = takes[candidate].distance if base == FIRST and not wrong else None
        yield Pair.model_construct(
            case=f"{at}", text=cell.text, voice=cell.voice, base=takes[base].scores, candidate=scores,
            distance=distance,
        )  # fmt: skip


def _in_wrong_voice(cell: Cell, judged: Judged, generator: np.random.Generator) -> Scores:
    """The same text spoken with another reference clip, as from a stale cache."""
    others = [other for other in judged if other.text == cell.text and other.voice != cell.voice]
    spoken = judged[others[generator.integers(len(others))]][FIRST].scores
    return spoken.model_copy(update={"voice": cell.voice})
