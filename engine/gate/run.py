"""One gate run from start to end: is the machine fit, what is compared, measure, judge, record."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine import machine as machines
from engine.errors import UsageError
from engine.gate import baseline, instrument, preflight, record, recording, revision, verdict
from engine.gate.baseline import BASELINES, Selection
from engine.gate.fitness import Preflight
from engine.gate.instrument import Material, Target
from engine.gate.measure import Measured, Settings, measure
from engine.gate.record import RECORDS, Arm, Run
from engine.gate.sequential import Plan, can_fire
from engine.gate.workload import SENTENCES
from engine.machine import Machine
from engine.options import Options

BLOCKS, QUICK_BLOCKS = 10, 3
BUDGET_MINUTES = 14.0
"""Leaves a minute of the quarter of an hour for checking, judging and writing."""
QUICK_WORKLOADS, QUICK_CALLS = ("short",), 4
DEFAULTS = {"cpu": "fast_cpu", "cuda": "jetson"}
"""The preset that is held against the reference where nothing is asked for, by device."""
REFERENCE = "reference"

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        against: a git revision to compare with; else toggle sets of this code are compared.
        options: toggles of the candidate (of both arms with `against`): a preset, `name=value`, or both.
        against_options: toggles of the base; upstream's own behaviour if not given.
        checkpoint: what both arms load; the engine's default if not given.
        quick: three blocks of the shortest workload.
        blocks: at most so many; 10, or 3 if quick.
        budget_minutes: no block is begun that would end later.
        baseline: a file; else the machine's own, else the portable one.
        threshold: 0.2 tolerates 20 % more time than the base; the baseline's limit if not given.
        force: judge on an unfit machine too.
        accept_looser: let limits be looser than the base revision's.
        keep: records kept.
        seed: of the order of the arms; drawn from the clock if not given.
    """

    against: str | None = None
    options: str | None = None
    against_options: str | None = None
    checkpoint: str | None = None
    quick: bool = False
    blocks: int | None = None
    budget_minutes: float = BUDGET_MINUTES
    baseline: Path | None = None
    threshold: float | None = None
    force: bool = False
    accept_looser: bool = False
    records: Path = RECORDS
    keep: int = 100
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.against is not None and self.against_options is not None:
            raise UsageError(
                "--against with --against-options", "one of them: one question at a time", "Leave one out"
            )
        if self.blocks is not None and self.blocks < 1:
            raise UsageError(f"--runs {self.blocks}", "at least one block", "Raise it")
        if not self.budget_minutes > 0:
            raise UsageError(f"--budget {self.budget_minutes}", "a positive number of minutes", "Raise it")
        if self.threshold is not None and not 0 < self.threshold < 10:
            raise UsageError(f"--threshold {self.threshold}", "a share such as 0.2 for 20 %", "Correct it")
        if self.keep < 1:
            raise UsageError(f"--keep {self.keep}", "at least 1 record kept", "Pass 1 or more")
        for words in filter(None, (self.options, self.against_options)):
            if self.against is None:  # another revision may know other options
                Options.parse(words)

    def settings(self) -> Settings:
        """Blocks, workloads, calls and time."""
        blocks = self.blocks or (QUICK_BLOCKS if self.quick else BLOCKS)
        workloads = QUICK_WORKLOADS if self.quick else tuple(sentence.name for sentence in SENTENCES)
        now = datetime.datetime.now(datetime.timezone.utc)
        seed = self.seed if self.seed is not None else int(now.timestamp() * 1000)
        plan = Plan(blocks_max=blocks, family=len(workloads) + 1)
        return Settings(plan, workloads, 60 * self.budget_minutes, QUICK_CALLS if self.quick else None, seed)


@dataclasses.dataclass(frozen=True)
class Scene:
    """What is known before anything is measured: machine, fitness, limits, and what both arms are given."""

    machine: Machine
    fitness: Preflight
    selection: Selection
    material: Material


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
    scene = look(request, report)
    settings = request.settings()
    for said in reach(settings.plan):
        report(said)
    with targets(request, scene.material) as arms, instrument.opener(arms, scene.material) as open_worker:
        measured = measure(settings, open_worker, report)
    run = assemble(request, settings.plan, scene, arms, measured)
    return finish(request, run, scene, (f"seed of the order of the arms: {settings.seed}", *measured.notes))


def look(request: Request, report: Report) -> Scene:
    """Everything that can be checked before the first process starts."""
    machine = machines.describe()
    selection = baseline.select(machine.key, BASELINES, request.baseline)
    report(selection.said)
    material = find_material(request.checkpoint or checkpoints.DEFAULT_CHECKPOINT)
    fitness = preflight.check(machine, reference=(material.clip_text, _seconds(material.clip)))
    for finding in fitness.having("unfit"):
        report(f"unfit: {finding.check}: {finding.observed}, expected {finding.expected}. {finding.cure}")
    if not fitness.fit and not request.force:
        report("Figures will be shown, and nothing decided, unless --force is given")
    return Scene(machine, fitness, selection, material)


def find_material(name: str) -> Material:
    """The checkpoint as both arms are to load it (the same files), and its first clip.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    found = checkpoints.find(name)
    voice = next(iter(found.references.values()))
    folder = found.weights.parent
    where = str(folder) if (folder / "voice.json").is_file() else name
    if where == name and Path(name).exists():
        where = str(Path(name).resolve())
    return Material(found.name, where, Path(str(voice.audio)).resolve(), voice.text)


@contextlib.contextmanager
def targets(request: Request, material: Material) -> Iterator[Mapping[Arm, Target]]:
    """The two arms. Another revision is checked out for as long as they are needed.

    Raises:
        UsageError: `against` names no commit.
    """
    root = revision.checkout()
    here, dirty = revision.describe(root)
    options = request.options or DEFAULTS[_device()]
    candidate = Target(root, here, dirty, options)
    if request.against is None:
        yield {
            "base": dataclasses.replace(candidate, options=request.against_options or REFERENCE),
            "candidate": candidate,
        }
        return
    with revision.worktree(root, request.against) as path:
        commit = revision.resolve(root, request.against)
        yield {"base": Target(path, commit, False, options), "candidate": candidate}


def assemble(
    request: Request, plan: Plan, scene: Scene, arms: Mapping[Arm, Target], measured: Measured
) -> Run:
    """The record of what was measured, not yet judged."""
    names = [series.workload for series in measured.processes[0].series]
    sides = {arm: instrument.side(arms[arm], scene.material, measured.described[arm], names) for arm in arms}
    return Run(
        timestamp=datetime.datetime.now(datetime.timezone.utc),
        machine_key=scene.machine.key,
        machine=scene.machine,
        preflight=scene.fitness,
        forced=request.force and not scene.fitness.fit,
        plan=plan,
        threshold=request.threshold,
        candidate=sides["candidate"],
        base=sides["base"],
        processes=measured.processes,
    )


def finish(request: Request, run: Run, scene: Scene, notes: tuple[str, ...]) -> Outcome:
    """Judge a run, add what people should know about it, and write its record."""
    looser = looser_limits(scene.selection, scene.machine.key, request.against or "HEAD")
    found = verdict.judge(run, scene.selection, loosened=looser, accept_looser=request.accept_looser)
    untrained = (
        [] if run.candidate.trained else [f"{run.candidate.checkpoint} is untrained: its speech is noise"]
    )
    found = found.model_copy(update={"notes": (*found.notes, *untrained, *notes)})
    judged = run.model_copy(update={"verdict": found})
    return Outcome(judged, record.write(judged, request.records, request.keep), scene.selection)


def looser_limits(selection: Selection, key: str, ref: str) -> list[str]:
    """In which ways the selected baseline asks for less than the one that `ref` would have selected.

    Raises:
        BaselineError: the baseline of that revision cannot be read.
    """
    root, path = revision.checkout(), selection.path.resolve()
    own = f"{BASELINES}/{key}.json"
    inside = path.relative_to(root).as_posix() if path.is_relative_to(root) else None
    if inside is None:
        return []  # a file of the caller's own: there is nothing that it replaces
    if inside != own and inside == f"{BASELINES}/{baseline.PORTABLE}.json" and revision.show(root, ref, own):
        return [f"{own}, which {ref} has, was removed"]
    before = revision.show(root, ref, inside)
    return (
        recording.loosened(baseline.parse(before, f"{inside} at {ref}"), selection.baseline) if before else []
    )


def reach(plan: Plan) -> list[str]:
    """A sentence where the plan could not see a slow-down as large as the threshold in ordinary noise."""
    guard = can_fire(plan)
    return [] if guard.can_fire else [f"This plan can hardly decide. {guard.reason}"]


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
