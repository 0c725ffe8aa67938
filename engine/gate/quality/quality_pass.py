"""Quality pass from start to end: check the judges first; later speak, hear, compare with what was timed."""

from __future__ import annotations

import dataclasses
import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from engine.audio import Samples
from engine.errors import BaselineError
from engine.gate.baselines.select import Selection
from engine.gate.data import texts
from engine.gate.data.outputs import Heard, Quality, Spoken, Stray
from engine.gate.data.samples import ARMS, Arm, Process
from engine.gate.data.workloads import Sentence
from engine.gate.measure.process import Material, Opener, Reference
from engine.gate.quality import judges, script
from engine.gate.quality.judges import Distances, Item, Panel, Scores
from engine.gate.quality.judges.distance import WINDOW
from engine.gate.quality.judges.resample import at_our_rate

UNTRAINED = "the checkpoint is untrained: its speech is noise"

Report = Callable[[str], None]
OpenOutputs = Callable[[Path], AbstractContextManager[Opener]]
"""Gives an opener whose processes keep their waves in a folder."""
Judge = Callable[[Sequence[Item], Panel, int, Callable[[int, int], None]], Sequence[Scores]]
"""Scores items by a panel, in so many processes, and tells how many are done, as `judges.judge_all` does."""


@dataclasses.dataclass(frozen=True, eq=False)
class Audition:
    """What will be spoken in which voices, and who judges: all that is known before anything is measured."""

    lines: tuple[script.Line, ...]
    voices: Mapping[str, Reference]
    panel: Panel
    missing: Mapping[str, str]
    skipped: tuple[str, ...]
    seed: int


def prepare(
    material: Material,
    selection: Selection,
    sentences: Sequence[Sentence],
    *,
    quick: bool,
    seed: int,
    recogniser: str,
    missing: Callable[[Panel], Mapping[str, str]] | None = None,
) -> Audition:
    """Choose cases and voices, and open the judges once to see who is missing.

    An untrained checkpoint needs no judges: its speech is noise, and only what holds for any wave is judged.

    Args:
        material: the checkpoint, its voices and languages.
        selection: the baseline, which holds the limits and names the judges that must be there.
        sentences: those that will be timed.
        quick: the quick cases only.
        seed: of the second pass.
        recogniser: see `judges.words.open_recogniser`.
        missing: says which judges cannot be opened; `missing_judges` unless given.

    Raises:
        BaselineError: the baseline has no limits of quality.
        MissingJudge: a required judge cannot be opened.
        UsageError: no such recogniser.
    """
    relative = selection.baseline.relative
    if relative.quality is None:
        raise BaselineError(
            f"{selection.path} without relative.quality",
            "limits of quality",
            "Copy them from baselines/portable.json, or judge speed alone with --no-quality",
        )
    voices = dict(material.voices) or {"voice": Reference(material.clip, material.clip_text)}
    names = judges.ALL if material.trained else ()
    required = relative.required_judges if material.trained else ()
    references = {name: _samples(voice) for name, voice in voices.items()} if names else {}
    panel = Panel(references, names, required, recogniser)
    chosen = texts.choose(material.languages, texts.QUICK if quick else None)
    probes = script.QUICK_PROBES if quick else script.PROBES
    return Audition(
        script.script(chosen.cases, sentences, list(voices), seed, probes),
        voices,
        panel,
        (missing or missing_judges)(panel) if names else dict.fromkeys(judges.ALL, UNTRAINED),
        chosen.skipped,
        seed,
    )


def missing_judges(panel: Panel) -> dict[str, str]:
    """Which judges cannot be opened, and why. They are opened elsewhere, to leave this process small.

    Raises:
        MissingJudge: one of them is required.
        UsageError: no such recogniser.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_missing, panel).result()


def _missing(panel: Panel) -> dict[str, str]:
    return dict(judges.open_panel(panel).missing)


def hold(
    audition: Audition,
    open_outputs: OpenOutputs,
    processes: Sequence[Process],
    timed: Path,
    described: dict[Arm, Mapping[str, Any]],
    report: Report,
    judge: Judge | None = None,
) -> Quality:
    """Let both arms speak, let the judges hear every distinct output once, and compare the arms.

    Args:
        audition: from `prepare`.
        open_outputs: starts processes that keep their waves.
        processes: what was timed.
        timed: the folder with the waves of it, by hash.
        described: what the arms said of themselves when they were measured.
        report: is told what happens, one sentence at a time.
        judge: scores what was spoken; `judges.judge_all` unless given.

    Raises:
        UsageError: an arm is broken or changed.
    """
    with tempfile.TemporaryDirectory(prefix="ishowtts-quality-") as scratch:
        folder = Path(scratch)
        with open_outputs(folder) as open_worker:
            spoken = script.obtain(audition.lines, audition.voices, open_worker, described, report)
        scores = _judged(audition, spoken, folder, report, judge or judges.judge_all)
        heard = {arm: _heard(arm, spoken[arm], scores[arm], processes, timed, folder) for arm in ARMS}
        return Quality(
            seed=audition.seed,
            recogniser=audition.panel.recogniser,
            base=heard["base"],
            candidate=heard["candidate"],
            distances=dict(_distances(heard["base"], heard["candidate"], folder)),
            missing=dict(audition.missing),
            skipped=audition.skipped,
        )


def _judged(
    audition: Audition, spoken: Mapping[Arm, Sequence[Spoken]], folder: Path, report: Report, judge: Judge
) -> dict[Arm, dict[str, Scores]]:
    """Scores of the first pass, by arm and name."""
    asked = [(arm, one) for arm in ARMS for one in spoken[arm] if one.first]
    items = [Item(_wave(folder, one.output), one.text, one.voice) for _, one in asked]
    workers = judges.workers() if audition.panel.names else 1
    report(f"quality: judging {len({one.output for _, one in asked})} distinct outputs")

    def progress(done: int, total: int) -> None:
        if done * 4 // total > (done - 1) * 4 // total or workers > 1:
            report(f"quality: judged {done} of {total}")

    found = judge(items, audition.panel, workers, progress)
    judged: dict[Arm, dict[str, Scores]] = {arm: {} for arm in ARMS}
    for (arm, one), scores in zip(asked, found, strict=True):
        reasons = {**scores.not_judged, **audition.missing}
        judged[arm][one.name] = scores.model_copy(update={"not_judged": reasons})
    return judged


def _heard(
    arm: Arm,
    spoken: Sequence[Spoken],
    scores: dict[str, Scores],
    processes: Iterable[Process],
    timed: Path,
    folder: Path,
) -> Heard:
    """One arm, with every output that has other bytes than the judged one of the same request."""
    judged = {one.name: one.output for one in spoken if one.first}
    outputs = {
        (one.workload, call.output)
        for process in processes
        if process.arm == arm
        for one in process.series
        for call in (*one.warmup, *one.calls)
    }
    strays = [
        Stray(
            name=name, kind="timed", output=output, judged=judged[name],
            mel_l2=_mel_l2(_wave(folder, judged[name]), _wave(timed, output)),
        )
        for name, output in sorted(outputs)
        if output != judged[name] and _path(timed, output).is_file()
    ]  # fmt: skip
    strays += [
        Stray(
            name=one.name, kind="again", output=one.output, judged=judged[one.name],
            mel_l2=_mel_l2(_wave(folder, judged[one.name]), _wave(folder, one.output)),
        )
        for one in spoken
        if one.kind == "again" and one.output != judged[one.name]
    ]  # fmt: skip
    return Heard(spoken=tuple(spoken), scores=scores, strays=tuple(strays))


def _distances(base: Heard, candidate: Heard, folder: Path) -> Iterator[tuple[str, Distances]]:
    """How far the candidate is from the base, where the bytes differ and can be compared."""
    for name, one in base.first.items():
        waves = _wave(folder, one.output), _wave(folder, candidate.first[name].output)
        if one.output != candidate.first[name].output and _comparable(*waves):
            yield name, judges.distances(*waves)


def _mel_l2(judged: Samples, other: Samples) -> float | None:
    """Relative mel L2 of two takes of one request; None where they cannot be compared."""
    if len(judged) != len(other) or not _comparable(judged, other):
        return None
    return judges.distances(judged, other).mel_l2


def _comparable(one: Samples, other: Samples) -> bool:
    enough = min(len(one), len(other)) >= WINDOW
    return enough and bool(np.isfinite(one).all() and np.isfinite(other).all())


def _wave(folder: Path, output: str) -> Samples:
    """The wave of that hash [n]; nothing where it was not kept."""
    path = _path(folder, output)
    return np.fromfile(path, np.float32) if path.is_file() else np.zeros(0, np.float32)


def _path(folder: Path, output: str) -> Path:
    return folder / f"{output}.f32"


def _samples(reference: Reference) -> Samples:
    """A clip as the judges take it: mono float32 [n] at 24 kHz."""
    from engine.reference import Voice

    return at_our_rate(*Voice(reference.clip, reference.text).read())
