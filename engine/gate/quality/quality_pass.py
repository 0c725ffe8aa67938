"""Quality pass from start to end: check the judges first; later speak, hear, compare with what was timed."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from engine.audio import Samples
from engine.errors import BaselineError
from engine.gate.baselines.select import Selection
from engine.gate.data import texts
from engine.gate.data.outputs import Quality, Spoken
from engine.gate.data.samples import ARMS, Arm, Process
from engine.gate.data.texts import Case
from engine.gate.data.workloads import Sentence
from engine.gate.measure.process import Material, Opener, Reference
from engine.gate.quality import hearing, judges, line_budget, script, timed
from engine.gate.quality.hearing import Judge as Judge
from engine.gate.quality.judges import Panel, words
from engine.gate.quality.judges.resample import at_our_rate
from engine.gate.quality.timed import Timed

UNTRAINED = "the checkpoint is untrained: its speech is noise"

Report = Callable[[str], None]
OpenOutputs = Callable[[Path], AbstractContextManager[Opener]]
"""Gives an opener whose processes keep their waves in a folder."""


@dataclasses.dataclass(frozen=True, eq=False)
class Audition:
    """What may be spoken in which voices, and who judges: all that is known before anything is measured.

    `sentences` are those that will be timed, `probes` how many cases the second pass asks for again, and
    `unheard` languages of the cases that the recogniser does not hear.
    """

    cases: tuple[Case, ...]
    sentences: tuple[Sentence, ...]
    voices: Mapping[str, Reference]
    panel: Panel
    missing: Mapping[str, str]
    skipped: tuple[str, ...]
    seed: int
    probes: int
    unheard: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What people should know before anything is measured: who is missing, what nobody will hear."""
        missing = [f"not judged: {judge} ({why})" for judge, why in self.missing.items()]
        deaf = f"{self.panel.recogniser} hears no words in {' and '.join(self.unheard)}"
        return [*missing, *([deaf] if self.unheard else [])]


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
    return Audition(
        cases=chosen.cases,
        sentences=tuple(sentences),
        voices=voices,
        panel=panel,
        missing=(missing or missing_judges)(panel) if names else dict.fromkeys(judges.ALL, UNTRAINED),
        skipped=chosen.skipped,
        seed=seed,
        probes=script.QUICK_PROBES if quick else script.PROBES,
        unheard=_unheard(chosen.cases, recogniser) if names else (),
    )


def _unheard(cases: Sequence[Case], recogniser: str) -> tuple[str, ...]:
    """The languages of these cases whose words nobody will hear."""
    spoken = {language for case in cases for language in words.languages(case.text)}
    return tuple(sorted(spoken - set(words.heard_by(recogniser))))


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
    waves: Path,
    described: dict[Arm, Mapping[str, Any]],
    report: Report,
    judge: Judge | None = None,
    *,
    seconds: float = math.inf,
) -> Quality:
    """Let both arms speak, let the judges hear every distinct output once, and compare the arms.

    Of each timed workload the judges hear the first and the last wave of the measurement itself.

    Args:
        audition: from `prepare`.
        open_outputs: starts processes that keep their waves.
        processes: what was timed, both arms.
        waves: the folder with the waves of it, by hash.
        described: what the arms said of themselves when they were measured.
        report: is told what happens, one sentence at a time.
        judge: scores what was spoken; `judges.judge_all` unless given.
        seconds: what all this may take; cases that do not fit are left out, but never those of the quick set.

    Raises:
        UsageError: an arm is broken or changed.
    """
    measured = _timed(audition, processes, waves)
    sentences = [sentence for _, sentence in measured.judged]
    fitting = _fitting(audition, sentences, processes, seconds, report)
    lines = script.script(fitting.cases, sentences, list(audition.voices), audition.seed, audition.probes)
    with tempfile.TemporaryDirectory(prefix="ishowtts-quality-") as scratch:
        folder = Path(scratch)
        with open_outputs(folder) as open_worker:
            said = script.obtain(lines, audition.voices, open_worker, described, report)
        spoken = {arm: (*_from_timing(arm, audition, measured), *said[arm]) for arm in ARMS}
        folders = {"case": folder, "timed": waves}
        scores = hearing.scores(
            audition.panel, audition.missing, spoken, folders, report, judge or judges.judge_all
        )
        heard = {arm: hearing.heard(arm, spoken[arm], scores[arm], measured, folder) for arm in ARMS}
        return Quality(
            seed=audition.seed,
            recogniser=audition.panel.recogniser,
            base=heard["base"],
            candidate=heard["candidate"],
            distances=dict(hearing.distances(heard["base"], heard["candidate"], folders)),
            timed=tuple(timed.changes(measured.calls, waves)),
            missing=dict(audition.missing),
            skipped=(*audition.skipped, *fitting.left_out),
        )


def _timed(audition: Audition, processes: Sequence[Process], folder: Path) -> Timed:
    """What was timed, and which of its requests are judged, each as a sentence with a name of its own."""
    calls = {arm: timed.answers(processes, arm) for arm in ARMS}
    requests = timed.to_judge(calls, folder)
    judged = tuple(
        (
            request,
            sentence.model_copy(update={"name": f"{request[0]} seed {request[1]}", "seed": request[1]}),
        )
        for sentence in audition.sentences
        for request in requests.get(sentence.name, ())
    )
    return Timed(calls, judged, folder)


def _fitting(
    audition: Audition,
    sentences: Sequence[Sentence],
    processes: Sequence[Process],
    seconds: float,
    report: Report,
) -> line_budget.Fitting:
    """The cases for which there is time."""
    workers = judges.workers() if audition.panel.names else 0
    price = line_budget.pace(audition.sentences, processes, workers)
    fitting = line_budget.fitting(audition.cases, texts.QUICK, sentences, audition.probes, price, seconds)
    if fitting.left_out:
        report(f"quality: {len(fitting.cases)} of {len(audition.cases)} cases fit into the time that is left")
    if fitting.seconds > seconds:
        report(
            f"quality: the smallest set takes about {fitting.seconds / 60:.1f} minutes, and "
            f"{max(0.0, seconds) / 60:.1f} are left; it is spoken nevertheless"
        )
    return fitting


def _from_timing(arm: Arm, audition: Audition, measured: Timed) -> Iterator[Spoken]:
    """The answers of one arm, given while it was timed, that are judged."""
    for request, sentence in measured.judged:
        call = measured.calls[arm][request][0]
        yield Spoken(
            name=sentence.name,
            kind="timed",
            text=sentence.text,
            voice=next(iter(audition.voices)),
            seed=sentence.seed,
            output=call.output,
            seconds=call.seconds,
            audio_seconds=call.audio_seconds,
        )


def _samples(reference: Reference) -> Samples:
    """A clip as the judges take it: mono float32 [n] at 24 kHz."""
    from engine.reference import Voice

    return at_our_rate(*Voice(reference.clip, reference.text).read())
