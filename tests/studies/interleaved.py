"""Several toggle sets timed in one process, in turn: a quick look beside a record, and what the front needs.

Every round runs every set once on every text, in a random order, so that a machine that speeds up or slows
down does so for all of them alike. One round before them warms up and does not count. It is no verdict: the
gate's unit of independence is a process (`engine.gate.measure.blocks`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from engine.checkpoint import find
from engine.errors import UsageError
from engine.gate.data import texts
from engine.options import Options
from tests.studies.ratios import Ratio, ratio_of


@dataclasses.dataclass(frozen=True)
class Timed:
    """One toggle set.

    Attributes:
        calls: by text, wall seconds of each round's call.
        audio: by text, seconds of audio.
        stages: seconds by stage, over all texts, the median of the rounds.
    """

    calls: Mapping[str, tuple[float, ...]]
    audio: Mapping[str, float]
    stages: Mapping[str, float]

    @property
    def rounds(self) -> tuple[float, ...]:
        """Seconds of each round, all texts together."""
        return tuple(float(sum(row)) for row in zip(*self.calls.values(), strict=True))

    @property
    def rtf(self) -> float:
        """Seconds of computing for a second of audio, the median round."""
        return float(np.median(self.rounds)) / sum(self.audio.values())

    def against(self, other: Timed) -> Ratio:
        """Time of this set / time of the other, round by round, with its 95 % interval over rounds."""
        return ratio_of(self.rounds, other.rounds)


def measure(
    sets: Mapping[str, Options],
    checkpoint: str,
    names: Sequence[str] = ("hello",),
    *,
    rounds: int = 5,
    seed: int = 0,
    device: str | None = None,
) -> dict[str, Timed]:
    """Time each toggle set on the pinned texts `names`.

    Args:
        sets: name -> toggles.
        rounds: that count.
        seed: of the order within a round.

    Raises:
        UsageError: no sets, fewer than two rounds, or no such text.
        CheckpointError, DeviceError, OptionsError: one of them cannot be loaded.
    """
    import engine

    if not sets or rounds < 2:
        raise UsageError(
            f"{len(sets)} sets, {rounds} rounds", "a set and two rounds at least", "Ask for more"
        )
    source = find(checkpoint)
    cases = texts.choose(source.languages, names).cases
    voices = list(source.references)
    order = np.random.default_rng(seed)
    pairs = [(name, case) for name in sets for case in cases]
    spent: dict[tuple[str, str], list[tuple[float, float, dict[str, float]]]] = {}
    with contextlib.ExitStack() as stack:
        loaded = {
            name: stack.enter_context(engine.load(checkpoint, options, device=device))
            for name, options in sets.items()
        }
        for _ in range(1 + rounds):
            for index in order.permutation(len(pairs)):
                name, case = pairs[index]
                audio = loaded[name].synthesize(case.text, case.spoken_by(voices), seed=case.seed)
                took = (audio.timings.total, audio.seconds, audio.timings.stages())
                spent.setdefault((name, case.name), []).append(took)
    return {name: _timed({case.name: spent[name, case.name][1:] for case in cases}) for name in sets}


def _timed(spent: Mapping[str, Sequence[tuple[float, float, dict[str, float]]]]) -> Timed:
    """One set, from (seconds, audio seconds, stages) of each text and round."""
    first = next(iter(spent.values()))[0][2]
    return Timed(
        calls={case: tuple(seconds for seconds, _, _ in rows) for case, rows in spent.items()},
        audio={case: rows[0][1] for case, rows in spent.items()},
        stages={
            stage: sum(float(np.median([one[2].get(stage, 0.0) for one in rows])) for rows in spent.values())
            for stage in first
        },
    )
