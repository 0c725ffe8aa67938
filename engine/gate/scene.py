"""What is known before anything is measured: the machine, its limits, what is compared, and with what."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine.errors import BaselineError
from engine.gate import comparison as comparisons
from engine.gate import machine as machines
from engine.gate.baselines import select
from engine.gate.baselines.loosening import loosened_files
from engine.gate.baselines.select import BASELINES, Selection
from engine.gate.comparison import Comparison
from engine.gate.data.machine_state import Preflight
from engine.gate.listening import votes
from engine.gate.listening.votes import Votes
from engine.gate.machine import Machine
from engine.gate.measure import revisions
from engine.gate.measure.process import Material, Reference
from engine.gate.preflight import check
from engine.gate.request import Request

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Machine, fitness, limits, what is compared, what both arms are given, and what the user brought.

    `looser`: in which ways the limits ask for less than the base revision's.
    """

    machine: Machine
    fitness: Preflight
    selection: Selection
    comparison: Comparison
    material: Material
    looser: tuple[str, ...] = ()
    votes: Votes | None = None


def look(request: Request, report: Report) -> Scene:
    """Everything that can be checked before the first process starts.

    Raises:
        BaselineError, UsageError, CheckpointError, VotesError: what was asked for cannot be done here.
    """
    root, machine = revisions.checkout(), machines.describe()
    selection = select.select(machine.key, _baselines(root, request), request.baseline)
    comparison = comparisons.compare(request, selection, root)
    material = dataclasses.replace(find_material(comparison.checkpoint), through=request.through)
    report(f"base: {comparison.base.said}")
    report(f"candidate: {_candidate(comparison)}, {comparison.checkpoint} with {comparison.options}")
    report(selection.said)
    looser = loosened_files(*comparisons.loosening(comparison))
    fitness = check.check(machine, reference=(material.clip_text, _seconds(material.clip)))
    for finding in fitness.having("unfit"):
        report(f"unfit: {finding.sentence}")
    if not fitness.fit and not request.force:
        report("Figures will be shown, and nothing decided, unless --force is given")
    heard = votes.read(request.votes) if request.votes else None
    return Scene(machine, fitness, selection, comparison, material, tuple(looser), heard)


def find_material(name: str) -> Material:
    """The checkpoint as both arms are to load it (the same files), and its clips; the first one is timed.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    checkpoint = checkpoints.find(name)
    voices = {
        key: Reference(Path(str(voice.audio)).resolve(), voice.text)
        for key, voice in checkpoint.references.items()
    }
    first = next(iter(voices.values()))
    folder = checkpoint.weights.parent
    where = str(folder) if (folder / "voice.json").is_file() else name
    if where == name and Path(name).exists():
        where = str(Path(name).resolve())
    return Material(
        checkpoint.name,
        where,
        *first,
        voices=voices,
        languages=checkpoint.languages,
        trained=checkpoint.trained,
    )


def _baselines(root: Path, request: Request) -> Path:
    """The folder of the baselines: in the checkout that holds the running engine, wherever the user stands.

    Raises:
        BaselineError: that is no checkout, and no file was named.
    """
    folder = root / BASELINES
    if request.baseline is None and not folder.is_dir():
        raise BaselineError(
            f"{folder} is missing",
            "the baselines in the checkout that holds the running engine",
            "Run the gate of a checkout (pip install --editable), or name a file: --baseline FILE",
        )
    return BASELINES if root == Path.cwd() else folder


def _candidate(comparison: Comparison) -> str:
    """The candidate in words: its revision and where its code comes from."""
    if comparison.candidate is not None:
        return f"{comparison.candidate} of {comparison.root}"
    revision, dirty = revisions.describe(comparison.root)
    changes = " with uncommitted changes" if dirty and revision != revisions.UNVERSIONED else ""
    return f"{revision[:10]}{changes} in {comparison.root}"


def _seconds(clip: Path) -> float:
    import soundfile

    info: Any = soundfile.info(clip)
    return float(info.duration)
