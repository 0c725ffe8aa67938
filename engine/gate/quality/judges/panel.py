"""All judges together: opened once a process, each distinct output heard once."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import numpy as np

from engine.audio import SAMPLE_RATE, Samples
from engine.errors import UsageError
from engine.gate.data.scores import Mos, Scores, Signal
from engine.gate.quality.judges import words
from engine.gate.quality.judges.missing import MissingJudge
from engine.gate.quality.judges.mos import Dnsmos
from engine.gate.quality.judges.signal import inspect
from engine.gate.quality.judges.speaker import Speaker, cosine

ALL = ("words", "speaker", "mos")
"""Judges that need packages of their own. The signal is always judged."""
SHORTEST_SECONDS = 0.1
"""Below this there is nothing to hear, and the judges' own frames do not fit."""


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """Which judges, and what they need; plain data, so that it can be sent to another process.

    Args:
        references: voice -> samples [n] at 24 kHz of its reference clip.
        names: judges to open.
        required: those that must not be missing.
        recogniser: see `words.open_recogniser`.

    Raises:
        UsageError: no such judge.
    """

    references: Mapping[str, Samples]
    names: tuple[str, ...] = ALL
    required: tuple[str, ...] = ()
    recogniser: str = "pocketsphinx"

    def __post_init__(self) -> None:
        if unknown := sorted({*self.names, *self.required} - set(ALL)):
            raise UsageError(f"judge {unknown[0]!r}", f"one of {', '.join(ALL)}", "Name one of these")


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """One output to judge: float32 samples [n] at 24 kHz, the text, and the voice (one of the references)."""

    samples: Samples
    text: str
    voice: str

    @property
    def output(self) -> str:
        """Hash of the samples, as the instrument reports it."""
        return hash_of(self.samples)


@dataclasses.dataclass(frozen=True, eq=False)
class Judges:
    """Open judges. `prints`: voice -> embedding [256]. `missing`: judge -> why it has nothing to say."""

    words: words.Recogniser | None
    speaker: Speaker | None
    mos: Dnsmos | None
    prints: Mapping[str, Samples]
    missing: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Impression:
    """What an output sounds like, whatever it should have said. `languages`: those of the recogniser."""

    seconds: float
    signal: Signal
    heard: str | None
    similarities: dict[str, float]
    mos: Mos | None
    languages: tuple[str, ...]
    not_judged: dict[str, str]


def hash_of(samples: Samples) -> str:
    """Hex SHA-256 of float32 samples: the name of an output."""
    return hashlib.sha256(np.asarray(samples, np.float32).tobytes()).hexdigest()


def open_panel(panel: Panel) -> Judges:
    """Open the judges; one that is not installed is listed in `missing`.

    Raises:
        MissingJudge: it is required.
        UsageError: no such recogniser.
    """
    makers: dict[str, Callable[[], Any]] = {
        "words": lambda: words.open_recogniser(panel.recogniser),
        "speaker": Speaker,
        "mos": Dnsmos,
    }
    opened: dict[str, Any] = dict.fromkeys(ALL)
    missing = {name: "not asked for" for name in ALL if name not in {*panel.names, *panel.required}}
    for name in (name for name in ALL if name not in missing):
        try:
            opened[name] = makers[name]()
        except MissingJudge as error:
            if name in panel.required:
                raise
            missing[name] = str(error)
    speaker = opened["speaker"]
    prints = {voice: speaker.embed(clip) for voice, clip in panel.references.items()} if speaker else {}
    return Judges(**opened, prints=prints, missing=missing)


def listen(samples: Samples, judges: Judges) -> Impression:
    """What the judges hear in samples [n]. A wave with NaN, or too short for a sound, is kept from them."""
    signal, seconds = inspect(samples), len(samples) / SAMPLE_RATE
    unfit = "" if signal.finite else "the wave holds NaN or infinity"
    unfit = unfit or ("" if seconds >= SHORTEST_SECONDS else f"the wave is only {seconds:.2f} s long")
    if unfit:
        reasons = dict.fromkeys(ALL, unfit) | dict(judges.missing)
        return Impression(seconds, signal, None, {}, None, (), reasons)
    voice = judges.speaker.embed(samples) if judges.speaker else None
    return Impression(
        seconds,
        signal,
        judges.words.hear(samples) if judges.words else None,
        {} if voice is None else {name: cosine(known, voice) for name, known in judges.prints.items()},
        judges.mos.rate(samples) if judges.mos else None,
        judges.words.languages if judges.words else (),
        dict(judges.missing),
    )


def score(item: Item, impression: Impression) -> Scores:
    """Hold an impression against what should have been said, and by whom."""
    reasons, errors = dict(impression.not_judged), None
    foreign = sorted(words.languages(item.text) - set(impression.languages))
    if impression.heard is not None and foreign:
        reasons["words"] = f"no recogniser for {' and '.join(foreign)} is configured"
    elif impression.heard is not None:
        errors = words.errors(item.text, impression.heard)
    if impression.similarities and item.voice not in impression.similarities:
        reasons["speaker"] = f"no reference clip of voice {item.voice!r}"
    return Scores(
        output=item.output,
        seconds=impression.seconds,
        voice=item.voice,
        signal=impression.signal,
        heard=impression.heard,
        words=errors,
        similarities=impression.similarities,
        mos=impression.mos,
        not_judged=reasons,
    )


def judge(item: Item, judges: Judges) -> Scores:
    """Everything the open judges say about one output."""
    return score(item, listen(item.samples, judges))


def workers() -> int:
    """Processes that judge, one core each: a handful at most, because each opens every model."""
    return min(4, os.cpu_count() or 1)


def judge_all(
    items: Sequence[Item],
    panel: Panel,
    workers: int = 1,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Scores, ...]:
    """The scores of each item, in order. Each distinct output is heard once, over `workers` processes.

    With `workers` = 1 this process does the work itself.

    Args:
        report: called with (heard, distinct outputs) after each.

    Raises:
        MissingJudge: a required judge is not installed.
    """
    if workers < 1:
        raise UsageError(f"workers={workers}", "at least 1", "Pass 1 or more")
    waves = {item.output: item.samples for item in items}
    impressions: dict[str, Impression] = {}
    for share in _shares(waves, panel, min(workers, len(waves))):
        impressions |= share
        if report:
            report(len(impressions), len(waves))
    return tuple(score(item, impressions[item.output]) for item in items)


def _shares(waves: Mapping[str, Samples], panel: Panel, workers: int) -> Iterator[dict[str, Impression]]:
    """Impressions by output: one by one in this process, or a share at a time from others."""
    if workers <= 1:
        judges = open_panel(panel)
        for output, samples in waves.items():
            yield {output: listen(samples, judges)}
        return
    longest_first = sorted(waves, key=lambda output: -len(waves[output]))
    shares = [longest_first[start::workers] for start in range(workers)]
    context = multiprocessing.get_context("spawn")  # a fork would copy the parent's thread pools, locked
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [
            pool.submit(_share, {output: waves[output] for output in share}, panel) for share in shares
        ]
        for future in as_completed(futures):
            yield future.result()


def _share(waves: Mapping[str, Samples], panel: Panel) -> dict[str, Impression]:
    """The work of one process, on one core: the others are its siblings'."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported, which happens below
    judges = open_panel(panel)
    return {output: listen(samples, judges) for output, samples in waves.items()}
