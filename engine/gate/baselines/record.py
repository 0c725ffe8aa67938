"""How baselines change: a trusted run becomes entries (limits stay), and looser limits are found out."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import filelock

from engine.errors import UsageError
from engine.gate.baselines.select import BASELINES, PORTABLE, Baseline, Limit, Recorded, dump, load
from engine.gate.data.files import write_atomically
from engine.gate.data.samples import CONTROL, Run
from engine.gate.data.workloads import Workload

LOCK_SECONDS = 30.0


class Change(NamedTuple):
    """What recording changed for one workload: mean RTF before (None: no entry of these options) and now."""

    workload: str
    options: str
    before: float | None
    after: float

    @property
    def percent(self) -> float | None:
        """The change of the mean RTF in percent; positive is slower."""
        return None if self.before is None else 100 * (self.after / self.before - 1)


def record_entry(run: Run, directory: Path = BASELINES) -> tuple[Path, list[Change]]:
    """Record the candidate's samples as this machine's entries; limits stay as they are.

    The first recording on a machine starts its file from the relative limits of `portable.json`.

    Returns:
        The file written, and what changed, one `Change` per workload.

    Raises:
        UsageError: the machine was unfit or forced, the tree dirty, the A/A control missing or loud, a
            toggle not engaged, or quality lost.
        BaselineError: the file to be updated is unreadable or holds placeholders.
    """
    _check_trusted(run)
    path = directory / f"{run.machine_key}.json"
    with locked(path):
        old = load(path) if path.exists() else _start(run.machine_key, directory)
        fresh = [_entry(run, workload) for workload in run.candidate.workloads]
        before = old.recorded
        changes = [
            Change(
                entry.workload,
                " ".join(f"{name}={value}" for name, value in entry.options.items()) or "reference",
                before[entry.key].mean_rtf if entry.key in before else None,
                entry.mean_rtf,
            )
            for entry in fresh
        ]
        replaced = {(entry.workload, entry.checkpoint, entry.options_sha256) for entry in fresh}
        kept = [
            entry
            for entry in old.entries
            if not isinstance(entry, Recorded)
            or (entry.workload, entry.checkpoint, entry.options_sha256) not in replaced
        ]
        given = {name: value for name, value in old if value is not None}
        new = Baseline.model_validate({**given, "entries": (*kept, *fresh)})
        write_atomically(path, dump(new))
    return path, changes


def loosened(old: Baseline, new: Baseline) -> list[str]:
    """Every way in which `new` asks for less than `old`, one sentence each; empty if in none."""
    found = []
    after = new.limits()
    for name, limit in old.limits().items():
        if name not in after:
            found.append(f"{name} was removed (upper {limit.upper:g} {limit.unit})")
        elif after[name].unit != limit.unit:
            found.append(f"{name} changed its unit from {limit.unit} to {after[name].unit}")
        else:
            found += _looser(name, limit, after[name])
    found += [
        f"workload {name!r} is no longer pinned"
        for name in sorted(old.workloads.keys() - new.workloads.keys())
    ]
    found += [
        f"workload {name!r} was changed, so its limits are held to other work"
        for name in sorted(old.workloads.keys() & new.workloads.keys())
        if old.workloads[name] != new.workloads[name]
    ]
    gone = old.recorded.keys() - new.recorded.keys()
    found += [f"the recorded samples of {old.recorded[key].workload!r} were removed" for key in sorted(gone)]
    excused = sorted(set(old.relative.required_judges) - set(new.relative.required_judges))
    found += [f"judge {name!r} is no longer required" for name in excused]
    dropped = sorted(set(old.machines_with_own_baseline) - set(new.machines_with_own_baseline))
    return found + [f"{name} no longer needs its own baseline" for name in dropped]


def _looser(name: str, old: Limit, new: Limit) -> list[str]:
    found = []
    if new.upper > old.upper:
        found.append(f"{name} upper was raised from {old.upper:g} to {new.upper:g} {old.unit}")
    if old.lower is not None and (new.lower is None or new.lower < old.lower):
        found.append(f"{name} lower was dropped from {old.lower:g} to {new.lower or 'nothing'} {old.unit}")
    return found


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the one lock for updating `path`. It lies outside the tree, which recording wants clean.

    Its empty file, one for each `path`, stays: a waiter may hold it open already, and to remove it would let
    a third writer lock another file of the same name.

    Raises:
        UsageError: another writer held it for too long.
    """
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    lock = filelock.FileLock(Path(tempfile.gettempdir()) / f"ishowtts-{name}.lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(
            f"{path} is locked by another writer",
            "one writer at a time",
            "Wait for it to end, then record again",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _check_trusted(run: Run) -> None:
    """Raise unless every question about the run's trust was asked and answered well."""
    if run.candidate.dirty:
        raise UsageError("uncommitted changes", "a clean tree", "Commit or stash them, then record")
    if run.forced:
        raise UsageError(
            "a run with --force", "a run on a fit machine", "Cure what preflight found, then record"
        )
    if run.verdict is None:
        raise UsageError("a run without a verdict", "a judged run", "Judge it first")
    if CONTROL not in [judgement.question for judgement in run.verdict.trust]:
        raise UsageError("a run without an A/A control", "blocks of base and candidate", "Run it with a base")
    lost = [judgement for judgement in run.verdict.quality if judgement.code == 1]
    for judgement in (*run.verdict.trust, *lost):
        if judgement.code != 0:
            raise UsageError(
                f"{judgement.question}: {judgement.sentence}",
                "a run that can be trusted",
                "Cure it, then record",
            )


def _entry(run: Run, workload: Workload) -> Recorded:
    """The candidate's steady calls of one workload, as an entry with its checksum."""
    side = run.candidate
    series = run.series("candidate", workload.name)
    draft = Recorded(
        status="recorded",
        workload=workload.name,
        workload_sha256=workload.sha256,
        checkpoint=side.checkpoint,
        options=side.options,
        revision=side.revision,
        recorded_at=run.timestamp,
        versions=side.versions,
        rtf=tuple(tuple(call.rtf for call in one.calls) for _, one in series),
        sha256="0" * 64,
    )
    return draft.model_copy(update={"sha256": draft.checksum()})


def _start(machine: str, directory: Path) -> Baseline:
    """A new machine's baseline: what is portable, and nothing promised yet."""
    portable = load(directory / f"{PORTABLE}.json")
    return Baseline(
        schema_version=1, machine=machine, workloads=portable.workloads, relative=portable.relative
    )
