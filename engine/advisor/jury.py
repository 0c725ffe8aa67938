"""The sound of toggle sets against the present configuration's: pinned texts, the gate's judges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from engine.advisor.bench import Open, last_line
from engine.advisor.recommend_record import UNJUDGED, Heard, Sound
from engine.audio import Samples
from engine.errors import UsageError
from engine.gate.data import texts
from engine.gate.data.quality_limits import Limits
from engine.gate.data.samples import Judgement
from engine.gate.data.workloads import Sentence
from engine.gate.measure.process import Material, Reference
from engine.gate.quality.differences import Pair, compare
from engine.gate.quality.judges import ALL, Item, Panel, Scores, distances, judge_all, workers
from engine.gate.quality.judges.distance import WINDOW
from engine.gate.quality.judges.resample import at_our_rate
from engine.gate.quality.quality_pass import UNTRAINED
from engine.options import Options

Judge = Callable[[Sequence[Item], Panel, int], Sequence[Scores]]


class Jury:
    """Hears sets one by one. The present configuration speaks once, when the first set is heard.

    Args:
        material: the checkpoint and its voices.
        current: the present configuration.
        open_worker: starts processes that keep their waves in `outputs`.
        judge: scores items with a panel in so many processes; `judges.judge_all` unless given.
    """

    def __init__(
        self,
        material: Material,
        current: Options,
        open_worker: Open,
        outputs: Path,
        limits: Limits | None = None,
        judge: Judge = judge_all,
    ) -> None:
        self._material, self._current, self._open = material, current, open_worker
        self._outputs, self._judge = outputs, judge
        self._limits = limits or Limits.model_validate({})
        self._voices = dict(material.voices) or {"voice": Reference(material.clip, material.clip_text)}
        self._base: Sequence[Scores] = ()

    def hear(self, options: Options, seconds: float) -> Sound:
        """What the judges say of a set; the processes that speak are ended after `seconds`."""
        if not self._material.trained:
            return _unjudged(f"Not judged: {UNTRAINED}.")
        cases = texts.choose(self._material.languages, texts.QUICK).cases
        try:
            self._base = self._base or self._scores(self._current, cases, seconds)
            scores = self._scores(options, cases, seconds)
        except UsageError as problem:
            return _unjudged(f"Not judged: {last_line(problem)}.")
        pairs = [
            Pair(case=case.name, text=case.text, voice=after.voice, base=before, candidate=after)
            for case, before, after in zip(cases, self._base, scores, strict=True)
        ]
        return told(compare(pairs, self._limits, lossless=False))

    def moved(self, one: str, other: str) -> float | None:
        """Relative mel L2 between two outputs; None where lengths differ or they were not kept."""
        if one == other:
            return 0.0
        waves = self._wave(one), self._wave(other)
        same = len(waves[0]) == len(waves[1]) >= WINDOW
        return float(distances(*waves).mel_l2) if same and all(np.isfinite(w).all() for w in waves) else None

    def _scores(self, options: Options, cases: Sequence[texts.Case], seconds: float) -> Sequence[Scores]:
        """What the judges say of each case as this set speaks it."""
        items = []
        with self._open(options, seconds) as handle:
            for case in cases:
                voice = case.spoken_by(list(self._voices))
                sentence = Sentence(name=case.name, text=case.text, seed=case.seed)
                output = handle.call(sentence, self._voices[voice]).output
                items.append(Item(self._wave(output), case.text, voice))
            handle.finish()
        return self._judge(items, self._panel(), workers())

    def _panel(self) -> Panel:
        from engine.reference import Voice

        clips = {name: at_our_rate(*Voice(one.clip, one.text).read()) for name, one in self._voices.items()}
        return Panel(clips, ALL)

    def _wave(self, output: str) -> Samples:
        """The wave of that hash [n]; nothing where it was not kept."""
        path = self._outputs / f"{output}.f32"
        return np.fromfile(path, np.float32) if path.is_file() else np.zeros(0, np.float32)


def told(judgements: Sequence[Judgement]) -> Sound:
    """One answer out of all: the worst one's, or that nobody could judge what is heard."""
    code = 1 if any(j.code == 1 for j in judgements) else max(j.code for j in judgements)
    reasons = [f"{j.question}: {j.sentence}" for j in judgements if j.code == code]
    if code:
        heard: Heard = "worse" if code == 1 else "undecided"
        return Sound(heard=heard, code=1 if code == 1 else 3, sentence=" ".join(reasons))
    listened = [j for j in judgements if j.question in ("CER", "speaker", "MOS")]
    if all(j.outcome == "NOT JUDGED" for j in listened):
        return _unjudged(f"Not judged: {listened[0].sentence}")
    absent = [j.question for j in listened if j.outcome == "NOT JUDGED"]
    said = f"Within the gate's limits{f', not judged: {absent}' if absent else ''}."
    return Sound(heard="within limits", code=0, sentence=said)


def _unjudged(sentence: str) -> Sound:
    return UNJUDGED.model_copy(update={"sentence": sentence})
