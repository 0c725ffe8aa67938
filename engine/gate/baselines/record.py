"""How a machine's sessions come into its baseline: a trusted run adds one, and limits stay as they are."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import filelock

from engine.errors import UsageError
from engine.gate.baselines.select import BASELINES, dump, load
from engine.gate.data.files import write_atomically
from engine.gate.data.limits import PORTABLE, SESSIONS_KEPT, Baseline, RecordedWorkload, Session
from engine.gate.data.samples import CONTROL, Run
from engine.gate.data.verdict import Verdict

LOCK_SECONDS = 30.0
OLDER = "older revision"
"""Whether anything older was looked at says nothing of the samples, so it bars no recording."""


class Change(NamedTuple):
    """One workload's mean RTF in the session before (None: there is none), and now."""

    workload: str
    options: str
    before: float | None
    after: float

    @property
    def percent(self) -> float | None:
        """The change of the mean RTF in percent; positive is slower."""
        return None if self.before is None else 100 * (self.after / self.before - 1)


def record_session(run: Run, directory: Path = BASELINES) -> tuple[Path, list[Change]]:
    """Add the candidate's samples to this machine's file as one session; limits stay as they are.

    At most ten sessions of a checkpoint and its options are kept, the newest; those of workloads that have
    changed since can never be compared again and go. The first recording on a machine starts its file from
    the relative limits of `portable.json`.

    Returns:
        The file written, and one `Change` for each workload.

    Raises:
        UsageError: the machine was unfit or forced, the tree dirty, the A/A control missing or loud, a
            toggle not engaged, or quality lost.
        BaselineError: the file to be updated is unreadable or holds placeholders.
    """
    _check_trusted(run)
    path = directory / f"{run.machine_key}.json"
    with locked(path):
        old = load(path) if path.exists() else _start(run.machine_key, directory)
        added = session_of(run)
        changes = _changes(old.sessions, added)
        content = {name: value for name, value in old if value is not None}
        sessions = _with(old.sessions, added)
        write_atomically(path, dump(Baseline.model_validate({**content, "sessions": sessions})))
    return path, changes


def session_of(run: Run) -> Session:
    """The candidate's steady calls as a session with its checksum."""
    side = run.candidate
    draft = Session(
        recorded_at=run.timestamp,
        revision=side.revision,
        checkpoint=side.checkpoint,
        options=side.options,
        versions=side.versions,
        threads=side.threads,
        workloads={
            workload.name: RecordedWorkload(
                sha256=workload.sha256,
                rtf=tuple(
                    tuple(call.rtf for call in calls) for calls in run.calls("candidate", workload.name)
                ),
            )
            for workload in side.workloads
        },
        sha256="0" * 64,
    )
    return draft.model_copy(update={"sha256": draft.checksum()})


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


def _with(sessions: Sequence[Session], added: Session) -> tuple[Session, ...]:
    """The sessions with one more: the newest ten of its key, and all others as they were."""
    others = [session for session in sessions if session.key != added.key]
    same = [session for session in sessions if session.key == added.key and _comparable(session, added)]
    newest = sorted([*same, added], key=lambda session: session.recorded_at)[-SESSIONS_KEPT:]
    return (*others, *newest)


def _comparable(session: Session, added: Session) -> bool:
    """Whether they share no workload whose content differs."""
    shared = session.workloads.keys() & added.workloads.keys()
    return all(session.workloads[name].sha256 == added.workloads[name].sha256 for name in shared)


def _changes(sessions: Sequence[Session], added: Session) -> list[Change]:
    """The mean RTF of each workload now, and in the newest session before that can be compared."""
    options = " ".join(f"{name}={value}" for name, value in added.options.items()) or "reference"
    changes = []
    for name, workload in added.workloads.items():
        before = [
            session.workloads[name].mean_rtf
            for session in sorted(sessions, key=lambda session: session.recorded_at)
            if session.key == added.key
            and name in session.workloads
            and session.workloads[name].sha256 == workload.sha256
        ]
        changes.append(Change(name, options, before[-1] if before else None, workload.mean_rtf))
    return changes


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
    if CONTROL not in [judgement.question for judgement in run.verdict.about("trust")]:
        raise UsageError("a run without an A/A control", "blocks of base and candidate", "Run it with a base")
    _check_judgements(run.verdict)


def _check_judgements(verdict: Verdict) -> None:
    """Raise where something makes the run doubtful, or where it lost quality."""
    doubtful = [one for one in verdict.about("trust") if one.code and one.question != OLDER]
    lost = [one for one in verdict.about("sound") if one.code == 1]
    for judgement in (*doubtful, *lost):
        raise UsageError(
            f"{judgement.question}: {judgement.sentence}",
            "a run that can be trusted",
            "Cure it, then record",
        )


def _start(machine: str, directory: Path) -> Baseline:
    """A new machine's baseline: what is portable, and nothing promised yet."""
    portable = load(directory / f"{PORTABLE}.json")
    return Baseline(
        schema_version=2,
        machine=machine,
        workloads=portable.workloads,
        relative=portable.relative,
    )
