"""One gate run from start to end: is the machine fit, what is compared, measure, judge, record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine.errors import UsageError
from engine.gate import machine as machines
from engine.gate.baselines import record, select
from engine.gate.baselines.select import BASELINES, Selection
from engine.gate.data import samples
from engine.gate.data.machine_state import Preflight
from engine.gate.data.outputs import Quality
from engine.gate.data.samples import Arm, Run
from engine.gate.listening import votes
from engine.gate.listening.votes import Votes
from engine.gate.machine import Machine
from engine.gate.measure import process, revisions
from engine.gate.measure.blocks import Measured, Settings, Watch, measure
from engine.gate.measure.process import Material, Opener, Reference, Target
from engine.gate.preflight import check
from engine.gate.quality import quality_pass
from engine.gate.quality.quality_pass import Audition
from engine.gate.request import BUDGET_MINUTES as BUDGET_MINUTES
from engine.gate.request import Request as Request
from engine.gate.stats.looks import Plan, can_fire
from engine.gate.verdict import judge as verdict

DEFAULTS = {"cpu": "fast_cpu", "cuda": "jetson"}
"""The preset that is held against the reference where nothing is asked for, by device."""
REFERENCE = "reference"

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is known before anything is measured: machine, fitness, limits, and what both arms are given.

    `looser`: in which ways the limits ask for less than the base revision's.
    """

    machine: Machine
    fitness: Preflight
    selection: Selection
    material: Material
    looser: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A judged run, where it was recorded, and by which baseline it was judged."""

    run: Run
    path: Path
    selection: Selection


def gate(request: Request, report: Report) -> Outcome:
    """Measure base against candidate, judge, and write the record.

    Raises:
        BaselineError: the baseline is missing or foreign, or the arms spoke different workloads.
        UsageError: the request cannot be met, or an arm is broken.
    """
    request = with_base(request, report)
    scene = look(request, report)
    settings = request.settings()
    for said in reach(settings.plan):
        report(said)
    hearing = prepare(request, settings, scene, report)
    with stage(request, scene.material) as found:
        measured = measure(settings, found.open_worker, watch(scene), report)
        quality = found.quality(hearing, measured, report)
    run = assemble(request, settings.plan, scene, found.arms, measured, quality)
    return finish(request, run, scene, (f"seed of the order of the arms: {settings.seed}", *measured.notes))


def with_base(request: Request, report: Report) -> Request:
    """The request with a revision to compare with: by default the commit that this checkout grew from.

    Raises:
        UsageError: there is no such commit, or its history is not here.
    """
    if request.against is not None or request.against_options is not None:
        return request
    root = revisions.checkout()
    base = revisions.default_base(root, dirty=revisions.describe(root)[1])
    if base.commit is None:
        raise UsageError(
            base.said,
            "an older commit: without one no run can see a regression",
            "Name toggles to compare with: --against-options reference",
        )
    report(f"Compared with {base.said}")
    return dataclasses.replace(request, against=base.commit)


def look(request: Request, report: Report) -> Scene:
    """Everything that can be checked before the first process starts."""
    machine = machines.describe()
    selection = select.select(machine.key, BASELINES, request.baseline)
    report(selection.said)
    material = find_material(request.checkpoint or checkpoints.DEFAULT_CHECKPOINT)
    fitness = check.check(machine, reference=(material.clip_text, _seconds(material.clip)))
    for finding in fitness.having("unfit"):
        report(f"unfit: {finding.sentence}")
    if not fitness.fit and not request.force:
        report("Figures will be shown, and nothing decided, unless --force is given")
    looser = looser_limits(selection, machine.key, request.against or "HEAD")
    return Scene(machine, fitness, selection, material, tuple(looser))


def prepare(request: Request, settings: Settings, scene: Scene, report: Report) -> Audition | None:
    """What the quality pass will need; None where quality is not asked for.

    Raises:
        BaselineError: no limits of quality.
        MissingJudge: a required judge is not installed.
        VotesError: a votes file cannot be read.
    """
    if not request.quality:
        report("Quality will not be judged: --no-quality")
        return None
    _votes(request)
    found = quality_pass.prepare(
        scene.material,
        scene.selection,
        settings.sentences,
        quick=request.quick,
        seed=settings.seed,
        recogniser=request.recogniser,
    )
    for judge, why in found.missing.items():
        report(f"quality: not judged: {judge} ({why})")
    return found


def watch(scene: Scene) -> Watch:
    """What looks at the machine again after each block."""
    return functools.partial(check.after_block, machine=scene.machine)


def find_material(name: str) -> Material:
    """The checkpoint as both arms are to load it (the same files), and its clips; the first one is timed.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    found = checkpoints.find(name)
    voices = {
        key: Reference(Path(str(voice.audio)).resolve(), voice.text)
        for key, voice in found.references.items()
    }
    first = next(iter(voices.values()))
    folder = found.weights.parent
    where = str(folder) if (folder / "voice.json").is_file() else name
    if where == name and Path(name).exists():
        where = str(Path(name).resolve())
    return Material(
        found.name, where, *first, voices=voices, languages=found.languages, trained=found.trained
    )


@dataclasses.dataclass(frozen=True)
class Stage:
    """The two arms, what starts their processes, and where the waves that they are timed with are kept."""

    arms: Mapping[Arm, Target]
    open_worker: Opener
    timed: Path
    open_outputs: quality_pass.OpenOutputs

    def quality(self, hearing: Audition | None, measured: Measured, report: Report) -> Quality | None:
        """The quality pass over both arms, once they have been measured."""
        if hearing is None:
            return None
        described = dict(measured.described)
        return quality_pass.hold(
            hearing, self.open_outputs, measured.processes, self.timed, described, report
        )


@contextlib.contextmanager
def stage(
    request: Request, material: Material, environment: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """Everything that processes of both arms need, for as long as they are needed.

    Raises:
        UsageError: `against` names no commit.
    """
    with targets(request, material) as arms, tempfile.TemporaryDirectory(prefix="ishowtts-timed-") as scratch:
        opening = functools.partial(process.opener, arms, material, environment=environment)
        with opening(outputs=Path(scratch)) as open_worker:
            yield Stage(arms, open_worker, Path(scratch), lambda folder: opening(outputs=folder))


@contextlib.contextmanager
def targets(request: Request, material: Material) -> Iterator[Mapping[Arm, Target]]:
    """The two arms. Another revision is checked out for as long as they are needed.

    Raises:
        UsageError: `against` names no commit.
    """
    root = revisions.checkout()
    here, dirty = revisions.describe(root)
    options = request.options or DEFAULTS[_device()]
    candidate = Target(root, here, dirty, options)
    if request.against is None:
        yield {
            "base": dataclasses.replace(candidate, options=request.against_options or REFERENCE),
            "candidate": candidate,
        }
        return
    with revisions.worktrees(root, request.against, None) as (older, newer):
        assert older is not None
        yield {
            "base": Target(older, revisions.resolve(root, request.against), False, options),
            "candidate": dataclasses.replace(candidate, root=newer),
        }


def assemble(
    request: Request,
    plan: Plan,
    scene: Scene,
    arms: Mapping[Arm, Target],
    measured: Measured,
    quality: Quality | None = None,
) -> Run:
    """The record of what was measured, not yet judged."""
    names = [series.workload for series in measured.processes[0].series]
    sides = {arm: process.side(arms[arm], scene.material, measured.described[arm], names) for arm in arms}
    found = Run(
        timestamp=datetime.datetime.now(datetime.timezone.utc),
        machine_key=scene.machine.key,
        machine=scene.machine,
        preflight=scene.fitness,
        after_blocks=measured.after_blocks,
        plan=plan,
        threshold=request.threshold,
        candidate=sides["candidate"],
        base=sides["base"],
        processes=measured.processes,
        quality=quality,
    )
    return found.model_copy(update={"forced": request.force and not found.fit})


def finish(request: Request, run: Run, scene: Scene, notes: tuple[str, ...]) -> Outcome:
    """Judge a run, add what people should know about it, and write its record."""
    found = verdict.judge(
        run,
        scene.selection,
        loosened=scene.looser,
        accept_looser=request.accept_looser,
        votes=_votes(request),
    )
    untrained = (
        [] if run.candidate.trained else [f"{run.candidate.checkpoint} is untrained: its speech is noise"]
    )
    found = found.model_copy(update={"notes": (*found.notes, *untrained, *notes)})
    judged = run.model_copy(update={"verdict": found})
    return Outcome(judged, samples.write(judged, request.records, request.keep), scene.selection)


def looser_limits(selection: Selection, key: str, ref: str) -> list[str]:
    """In which ways the selected baseline asks for less than the one that `ref` would have selected.

    Raises:
        BaselineError: the baseline of that revision cannot be read.
    """
    root, path = revisions.checkout(), selection.path.resolve()
    own = f"{BASELINES}/{key}.json"
    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else None
    if inside is None:
        return []  # a file of the caller's own: there is nothing that it replaces
    portable = f"{BASELINES}/{select.PORTABLE}.json"
    if inside != own and inside == portable and revisions.show(root, ref, own):
        return [f"{own}, which {ref} has, does not apply: it was removed, or --baseline names another"]
    before = revisions.show(root, ref, inside)
    if before:
        return record.loosened(select.parse(before, f"{inside} at {ref}"), selection.baseline)
    if inside != own or not (before := revisions.show(root, ref, portable)):
        return []
    old = select.parse(before, f"{portable} at {ref}")  # a new file of the machine's own takes over from it
    return record.loosened(old.model_copy(update={"machines_with_own_baseline": ()}), selection.baseline)


def reach(plan: Plan) -> list[str]:
    """A sentence where the plan could not see a slow-down as large as the threshold in ordinary noise."""
    guard = can_fire(plan)
    return [] if guard.can_fire else [f"This plan can hardly decide. {guard.reason}"]


def _votes(request: Request) -> Votes | None:
    return votes.read(request.votes) if request.votes else None


def _device() -> str:
    """Where the engine will run by itself. PyTorch is only asked where there is a GPU to ask about."""
    if not machines.describe().gpus and "torch" not in sys.modules:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _seconds(clip: Path) -> float:
    import soundfile

    info: Any = soundfile.info(clip)
    return float(info.duration)
