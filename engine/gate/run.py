"""One gate run from start to end: what is compared, is the machine fit, measure, judge, record."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from engine.gate import comparison as comparisons
from engine.gate.baselines.select import Selection
from engine.gate.data import samples
from engine.gate.data.outputs import Quality
from engine.gate.data.samples import Arm, Run
from engine.gate.measure import blocks, process
from engine.gate.measure.blocks import Measured, Settings, Watch
from engine.gate.measure.process import Opener, Target
from engine.gate.preflight import check, readers
from engine.gate.quality import quality_pass
from engine.gate.quality.quality_pass import Audition
from engine.gate.request import Request as Request
from engine.gate.scene import Report as Report
from engine.gate.scene import Scene as Scene
from engine.gate.scene import find_material as find_material
from engine.gate.scene import look as look
from engine.gate.verdict import judge as verdict
from engine.gate.verdict.judge import Accepted

Opening = Callable[[Path], AbstractContextManager[Opener]]
"""Gives what starts processes of the arms, which keep their waves in a folder."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A judged run, where it was recorded, and by which baseline it was judged."""

    run: Run
    path: Path
    selection: Selection


def gate(
    request: Request,
    report: Report,
    environment: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Measure base against candidate, or the candidate alone; judge, and write the record.

    Args:
        request: what is asked.
        report: is told what happens, one sentence at a time; first which base is compared with.
        environment: of the processes; this one's if not given.
        clock: seconds; a seam for tests.

    Raises:
        BaselineError: the baseline is missing or foreign, or the arms spoke different workloads.
        UsageError: the request cannot be met, or an arm is broken.
    """
    start = clock()
    scene = look(request, report)
    settings = request.settings(compared=scene.comparison.compared)
    audition = prepare(request, settings, scene, report)
    with (
        comparisons.targets(scene.comparison) as arms,
        tempfile.TemporaryDirectory(prefix="ishowtts-timed-") as folder,
    ):
        waves, opening = Path(folder), open_arms(arms, scene, environment)
        measured = measure(settings, opening, waves, scene, report)
        left = request.seconds - (clock() - start)
        quality = listen(audition, opening, measured, waves, left, report)
    run = assemble(request, settings, scene, arms, measured, quality)
    return finish(request, run, scene)


def open_arms(
    arms: Mapping[Arm, Target], scene: Scene, environment: Mapping[str, str] | None = None
) -> Opening:
    """What starts processes of the arms, each with the same checkpoint, clip and instrument."""
    return lambda folder: process.opener(arms, scene.material, outputs=folder, environment=environment)


def prepare(request: Request, settings: Settings, scene: Scene, report: Report) -> Audition | None:
    """What the quality pass will need; None where nothing is compared, or quality is not asked for.

    Raises:
        BaselineError: no limits of quality.
        MissingJudge: a required judge is not installed.
    """
    if not scene.comparison.compared:
        return None
    if not request.quality:
        report("Quality will not be judged: --no-quality")
        return None
    audition = quality_pass.prepare(
        scene.material,
        scene.selection,
        settings.sentences,
        quick=request.quick,
        seed=settings.seed,
        recogniser=request.recogniser,
    )
    for warning in audition.warnings:
        report(f"quality: {warning}")
    return audition


def measure(settings: Settings, opening: Opening, waves: Path, scene: Scene, report: Report) -> Measured:
    """The samples: blocks of live pairs, or the candidate's processes alone."""
    measuring = blocks.measure if scene.comparison.compared else blocks.measure_alone
    with opening(waves) as open_worker:
        return measuring(settings, open_worker, watch(scene), report)


def watch(scene: Scene) -> Watch:
    """What looks at the machine again after each block, and at what others did meanwhile."""
    return functools.partial(check.after_block, machine=scene.machine, busy=readers.CpuMeter())


def listen(
    audition: Audition | None,
    opening: Opening,
    measured: Measured,
    waves: Path,
    seconds: float,
    report: Report,
) -> Quality | None:
    """The quality pass over both arms, in what is left of the budget."""
    if audition is None:
        return None
    return quality_pass.hold(
        audition,
        opening,
        measured.processes,
        waves,
        dict(measured.described),
        report,
        seconds=seconds,
    )


def assemble(
    request: Request,
    settings: Settings,
    scene: Scene,
    arms: Mapping[Arm, Target],
    measured: Measured,
    quality: Quality | None = None,
) -> Run:
    """The record of what was measured, not yet judged."""
    names = [series.workload for series in measured.processes[0].series]
    sides = {arm: process.side(arms[arm], scene.material, measured.described[arm], names) for arm in arms}
    run = Run(
        timestamp=datetime.datetime.now(datetime.timezone.utc),
        machine_key=scene.machine.key,
        machine=scene.machine,
        preflight=scene.fitness,
        after_blocks=measured.after_blocks,
        plan=measured.plan,
        threshold=request.threshold,
        questions=scene.comparison.questions,
        base_said=scene.comparison.base.said if scene.comparison.compared else "",
        candidate=sides["candidate"],
        base=sides.get("base"),
        processes=measured.processes,
        work={arm: dict(measured.work[arm]) for arm in arms},
        quality=quality,
        notes=(*_through(request), f"seed of the order of calls: {settings.seed}", *measured.notes),
    )
    return run.model_copy(update={"forced": request.force and not run.fit})


def _through(request: Request) -> tuple[str, ...]:
    """What is said where calls were not `synthesize` itself."""
    said = "Times are those of POST /api/tts, asked of each revision's own service"
    return () if request.through is None else (f"{said}; limits and drift are not held",)


def finish(request: Request, run: Run, scene: Scene) -> Outcome:
    """Judge a run, and write its record."""
    accepted = Accepted(
        looser=request.accept_looser,
        changed_output=request.accept_changed_output,
        more_work=request.accept_more_work,
    )
    judgement = verdict.judge(
        run, scene.selection, loosened=scene.looser, accepted=accepted, votes=scene.votes
    )
    judged = run.model_copy(update={"verdict": judgement})
    records = request.records or scene.comparison.root / samples.RECORDS
    return Outcome(judged, samples.write(judged, records, request.keep), scene.selection)
