"""The story of one batch: read the texts, skip what is finished, speak the rest, keep each as it comes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from engine.checkpoint import Checkpoint
from engine.jobs import items, speaking
from engine.jobs.items import Item
from engine.jobs.results import Result, Results
from engine.jobs.speaking import Outcome, Setup
from engine.requests import Request

Speaker = Callable[[Setup, Sequence[Item]], Generator[Outcome, None, None]]
"""Speaks items in any order: here, or on a cluster."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a batch came to.

    Attributes:
        results: of this run, of bad lines too.
        finished: items that an earlier run had spoken.
        unproven: toggles that a process did not see to work, one sentence each.
        workers: processes that spoke.
    """

    results: tuple[Result, ...]
    finished: int
    unproven: tuple[str, ...]
    workers: int

    @property
    def spoken(self) -> list[Result]:
        """Results that have audio."""
        return [result for result in self.results if not result.error]

    @property
    def failed(self) -> list[Result]:
        """Results that have none, by line."""
        return sorted((result for result in self.results if result.error), key=lambda result: result.line)


def locally(setup: Setup, todo: Sequence[Item]) -> Generator[Outcome, None, None]:
    """Speak items in this process, in order."""
    if not todo:
        return
    with speaking.load(setup) as tts:
        for start in range(0, len(todo), setup.together):
            yield from speaking.speak(tts, todo[start : start + setup.together], setup)


def run(
    texts: Path,
    out: Path,
    setup: Setup,
    checkpoint: Checkpoint,
    defaults: Request,
    speaker: Speaker = locally,
    report: Callable[[int, int, Result | None], None] = lambda done, total, result: None,
) -> Summary:
    """Speak a file of texts into a folder.

    Args:
        texts: see `items.read`.
        out: the folder; what is finished in it stays.
        setup: what is loaded, and the format.
        checkpoint: the one that `setup` names.
        defaults: what a line that does not say otherwise takes.
        speaker: who speaks.
        report: told of every result: items that are done, of how many, and the latest.

    Raises:
        UsageError: the texts cannot be read, or another process writes into the folder.
        OutputError: the folder cannot be written.
        EngineError: the model cannot be loaded.
    """
    good, bad = items.read(texts, defaults)
    digests = speaking.keys(good, setup, checkpoint)
    with Results(out) as results:
        todo = [item for item in good if not results.finished(item.name, digests[item.name])]
        done, total = len(good) - len(todo), len(good) + len(bad)
        unproven: dict[str, tuple[str, ...]] = {}
        kept: list[Result] = []

        def keep(result: Result | None) -> None:
            kept.extend([result] if result is not None else [])
            report(done + len(kept), total, result)

        keep(None)
        for line in bad:
            keep(results.fail(line.line, line.name, line.reason))
        with contextlib.closing(speaker(setup, todo)) as outcomes:
            for outcome in outcomes:
                unproven[outcome.worker] = outcome.unproven
                keep(results.keep(outcome, digests[outcome.item.name], setup.format))
        names = {line.line: line.name for line in bad} | {item.line: item.name for item in good}
        results.settle([names[number] for number in sorted(names)])
    sentences = dict.fromkeys(sentence for several in unproven.values() for sentence in several)
    return Summary(tuple(kept), done, tuple(sentences), len(unproven))
