"""What toggle sets sound like: each speaks the pinned texts, and the judges' means stand side by side.

Means of a few clips rank nothing by themselves: they stand beside a speed to show what it cost. Whether one
set is as good as another is said by the gate, from pairs (`engine.gate.quality.differences`).
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence

from engine.gate.data import texts
from engine.gate.quality.judges import ALL, Item, Panel, Scores, judge_all, workers
from engine.gate.quality.judges.resample import at_our_rate
from engine.options import Options

Report = Callable[[str, int, int], None]
"""Told what is being done, how many are done, and how many there are."""


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """The pinned texts, and by toggle set what was said of each with its scores, in the same order."""

    cases: tuple[texts.Case, ...]
    items: Mapping[str, tuple[Item, ...]]
    scores: Mapping[str, tuple[Scores, ...]]
    skipped: tuple[str, ...]
    trained: bool


@dataclasses.dataclass(frozen=True)
class Sound:
    """Means over clips. None: the judge is not installed, or the checkpoint is untrained.

    Attributes:
        wer, cer: edits over all clips / words or characters over all clips.
        similarity: cosine to the voice's own reference clip.
        mos: DNSMOS OVRL.
        seconds: of audio, all clips together.
    """

    clips: int
    seconds: float
    wer: float | None
    cer: float | None
    similarity: float | None
    mos: float | None


def speak(
    sets: Mapping[str, Options],
    checkpoint: str,
    names: Sequence[str] | None = texts.QUICK,
    report: Report = lambda *_: None,
    *,
    device: str | None = None,
    judges: Sequence[str] = ALL,
) -> Spoken:
    """Let each toggle set speak the pinned texts from the same noise, and judge them; a wave is judged once.

    Args:
        sets: name -> toggles.
        names: of the texts; None is all of them.

    Raises:
        UsageError: no such text or judge.
        CheckpointError, DeviceError, OptionsError: it cannot be loaded.
    """
    import engine
    from engine.checkpoint import find

    source = find(checkpoint)
    chosen = texts.choose(source.languages, names)
    items: dict[str, tuple[Item, ...]] = {}
    for name, options in sets.items():
        said = []
        with engine.load(checkpoint, options, device=device) as tts:
            for done, case in enumerate(chosen.cases):
                report(f"speaking, {name}", done, len(chosen.cases))
                voice = case.spoken_by(list(source.references))
                said.append(Item(tts.synthesize(case.text, voice, seed=case.seed).samples, case.text, voice))
        items[name] = tuple(said)
    clips = {voice: at_our_rate(*clip.read()) for voice, clip in source.references.items()}
    every = [item for said in items.values() for item in said]
    heard = functools.partial(report, "judging")
    found = iter(judge_all(every, Panel(clips, tuple(judges)), workers() if judges else 1, heard))
    scores = {name: tuple(next(found) for _ in said) for name, said in items.items()}
    return Spoken(chosen.cases, items, scores, chosen.skipped, source.trained)


def mean(scores: Sequence[Scores]) -> Sound:
    """The means of what the judges said; a clip that one could not judge does not count for it."""
    words = [one.words for one in scores if one.words is not None]
    opinions = [one.mos.ovrl for one in scores if one.mos is not None]
    similarities = [one.similarity for one in scores if one.similarity is not None]
    return Sound(
        clips=len(scores),
        seconds=sum(one.seconds for one in scores),
        wer=sum(one.word_edits for one in words) / sum(one.words for one in words) if words else None,
        cer=sum(one.char_edits for one in words) / sum(one.chars for one in words) if words else None,
        similarity=statistics.fmean(similarities) if similarities else None,
        mos=statistics.fmean(opinions) if opinions else None,
    )
