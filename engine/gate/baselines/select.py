"""Baselines: what a machine is held to, and what was recorded on it. No doubtful file is ever a pass.

A machine has `<key>.json` or shares `portable.json`. Limits may be edited by hand; samples are checksummed.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from engine.errors import BaselineError
from engine.gate.data.files import reason
from engine.gate.data.quality_limits import Limits as QualityLimits
from engine.gate.data.samples import SCHEMA_VERSION, EditedError, Side
from engine.gate.data.workloads import Frozen, Name, Positive, Sha256, check_pins, sha256_of

BASELINES = Path("baselines")
PORTABLE = "portable"
Judge = Literal["words", "speaker", "mos"]


def _refuse_null(value: Any) -> Any:
    if value is None:
        raise ValueError("null is a placeholder; leave the field out")
    return value


GIVEN = BeforeValidator(_refuse_null)
"""A field that may be absent, but not null."""


class Limit(Frozen):
    """A bound in `unit`: over `upper` fails; under `lower` is not believed; `reference` is the aim."""

    upper: Positive
    lower: Annotated[Positive | SkipJsonSchema[None], GIVEN] = Field(
        default=None, description="Too good to be believed below it. Absent where no measurement tells."
    )
    reference: Annotated[Positive | SkipJsonSchema[None], GIVEN] = Field(
        default=None, description="The aim. Absent where nobody has stated one; none is made up."
    )
    unit: Name

    @model_validator(mode="after")
    def _is_ordered(self) -> Limit:
        if self.lower is not None and self.lower > self.upper:
            raise ValueError("must be lower <= upper")
        return self


class ProductLimits(Frozen):
    """Absolute limits; they hold on the named machine only."""

    mean_rtf: Limit
    worst_rtf: Limit
    cv: Limit


class RelativeLimits(Frozen):
    """Limits for every machine: candidate against base in the same run, and memory against no growth.

    A file without `quality`, as they were once, can judge speed alone. A judge in `required_judges` must be
    installed; where another one is not, the gate says what was not judged.
    """

    time_ratio: Limit
    tail_ratio: Limit
    memory_growth: Limit
    quality: Annotated[QualityLimits | SkipJsonSchema[None], GIVEN] = None
    required_judges: tuple[Judge, ...] = ()
    peak_memory: Limit = Limit(upper=1.5, unit="candidate/base")


class Reported(Frozen):
    """A figure somebody reported: no samples, so nothing is ever compared with it."""

    status: Literal["reported"]
    name: Name
    rtf: Positive
    note: Name
    source: Name


class Recorded(Frozen):
    """Samples recorded on this machine: RTF of every steady call, per process."""

    status: Literal["recorded"]
    workload: Name
    workload_sha256: Sha256
    checkpoint: Name
    options: dict[str, bool | int | float | str]
    revision: Name
    recorded_at: datetime.datetime
    versions: dict[str, str]
    rtf: Annotated[tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...], Field(min_length=1)]
    sha256: Sha256

    @property
    def key(self) -> tuple[str, str]:
        """What the samples belong to: the workload by content, and the options."""
        return self.workload_sha256, self.options_sha256

    @property
    def options_sha256(self) -> str:
        """Identity of the options."""
        return sha256_of(self.options)

    @property
    def mean_rtf(self) -> float:
        """Mean over all calls."""
        calls = [rtf for process in self.rtf for rtf in process]
        return sum(calls) / len(calls)

    def checksum(self) -> str:
        """The checksum that `sha256` must hold: over everything else in the entry."""
        return sha256_of(self.model_dump(mode="json", exclude={"sha256"}))


Entry = Annotated[Reported | Recorded, Field(discriminator="status")]


class Baseline(Frozen):
    """One file in `baselines/`. `workloads` pins the sentences in code by hash."""

    schema_version: Literal[1]
    machine: Name
    machines_with_own_baseline: tuple[Name, ...] = ()
    workloads: Annotated[dict[Name, Sha256], Field(min_length=1)]
    product: Annotated[ProductLimits | SkipJsonSchema[None], GIVEN] = None
    relative: RelativeLimits
    entries: tuple[Entry, ...] = ()

    @model_validator(mode="after")
    def _portable_holds_relative_limits_only(self) -> Baseline:
        if self.machine == PORTABLE and (self.product is not None or self.entries):
            raise ValueError(
                "portable holds relative limits only; product limits and entries belong to a machine"
            )
        if self.machine != PORTABLE and self.machines_with_own_baseline:
            raise ValueError("machines_with_own_baseline belongs to portable")
        return self

    @model_validator(mode="after")
    def _entries_are_pinned_and_unique(self) -> Baseline:
        entries = [entry for entry in self.entries if isinstance(entry, Recorded)]
        if len({entry.key for entry in entries}) < len(entries):
            raise ValueError("two recorded entries of the same workload and options")
        if stray := [entry.workload for entry in entries if entry.workload not in self.workloads]:
            raise ValueError(f"an entry was recorded for workload {stray[0]!r}, which is not pinned")
        return self

    @property
    def recorded(self) -> dict[tuple[str, str], Recorded]:
        """The recorded entries by key."""
        return {entry.key: entry for entry in self.entries if isinstance(entry, Recorded)}

    def limits(self) -> dict[str, Limit]:
        """Every limit by its dotted name, such as `product.mean_rtf` and `relative.quality.mos_drop`."""
        groups = {"product": self.product, "relative": self.relative}
        found = {
            f"{name}.{field}": limit
            for name, group in groups.items()
            for field, limit in group or ()
            if isinstance(limit, Limit)
        }
        quality = {
            f"relative.quality.{field}": Limit(upper=upper, unit="of quality")
            for field, upper in self.relative.quality or ()
        }
        return found | quality


class Selection(NamedTuple):
    """The baseline that a run is judged by, and the sentence that says so."""

    baseline: Baseline
    path: Path
    said: str


def select(machine: str, directory: Path = BASELINES, path: Path | None = None) -> Selection:
    """The baseline of `machine`: `path` if given, else its own file, else `portable.json`, said aloud.

    Raises:
        BaselineError: the file is missing, unreadable, of another schema or machine, or holds a placeholder;
            or a workload that it pins vanished or changed.
        EditedError: recorded samples were edited.
    """
    own = directory / f"{machine}.json"
    if path is None and not own.exists():
        path = directory / f"{PORTABLE}.json"
        if machine in load(path).machines_with_own_baseline:
            raise BaselineError(
                f"{own} is missing",
                f"the baseline of {machine}, which {path} says exists",
                "Restore it from git",
            )
    path = path or own
    baseline = load(path)
    if baseline.machine not in (machine, PORTABLE):
        raise BaselineError(
            f"{path} belongs to machine {baseline.machine!r}",
            f"the baseline of this machine, {machine!r}",
            "Leave --baseline out, or record one here",
        )
    check_pins(baseline.workloads, str(path))
    return Selection(baseline, path, _said(baseline, path, machine))


def load(path: Path) -> Baseline:
    """The checked baseline in `path`.

    Raises:
        BaselineError: missing, unreadable, wrong schema version, placeholder.
        EditedError: samples were edited.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(
            f"{path}: {reason(error)}", "a readable baseline", "Restore it from git"
        ) from error
    return parse(text, str(path))


def parse(text: str, where: str) -> Baseline:
    """The checked baseline in `text`; `where` names it in errors. Used for another revision's file too.

    Raises:
        BaselineError, EditedError: as `load`.
    """
    try:
        content = json.loads(text)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise BaselineError(
                f"{where}: schema_version={version!r}",
                f"{SCHEMA_VERSION}",
                "Use the release that wrote it, or port it",
            )
        baseline = Baseline.model_validate_json(text)
    except ValueError as error:
        raise BaselineError(
            f"{where}: {reason(error)}",
            "real, finite, positive values as schema.json describes",
            "Correct that field, or restore the file from git",
        ) from error
    for entry in baseline.recorded.values():
        if entry.sha256 != entry.checksum():
            raise EditedError(
                f"{where}: the recorded samples of {entry.workload!r} do not match their checksum",
                "samples as they were measured",
                "Restore the entry or record again; only limits are edited by hand",
            )
    return baseline


def find_recorded(baseline: Baseline, side: Side, workload: str) -> tuple[Recorded | None, str]:
    """The samples that `side` may be compared with on `workload`, or None; and the sentence that says why.

    Raises:
        BaselineError: samples of this checkpoint and options exist, but the workload's content has changed.
    """
    sha256, options = side.hashes[workload], sha256_of(side.options)
    for entry in baseline.recorded.values():
        same = (entry.workload, entry.checkpoint, entry.options_sha256) == (
            workload,
            side.checkpoint,
            options,
        )
        if same and entry.workload_sha256 != sha256:
            raise BaselineError(
                f"workload {workload!r} was {entry.workload_sha256[:12]} when recorded, now {sha256[:12]}",
                "the text, reference clip, seed, speed and weights that were recorded",
                "Undo the change or record again; different workloads are never compared",
            )
    found = baseline.recorded.get((sha256, options))
    if found is None:
        return None, f"{workload}: no samples of these options are recorded for {baseline.machine}"
    names = sorted(found.versions.keys() | side.versions.keys())
    changed = [name for name in names if found.versions.get(name) != side.versions.get(name)]
    if changed:
        pairs = ", ".join(
            f"{name} {found.versions.get(name)} -> {side.versions.get(name)}" for name in changed
        )
        return None, f"{workload}: samples not compared, versions differ ({pairs}); the limits stay in force"
    return found, f"{workload}: compared with the samples recorded at {found.revision[:12]}"


def schema() -> str:
    """The JSON Schema of a baseline file, as committed in `baselines/schema.json`."""
    return json.dumps(Baseline.model_json_schema(), indent=2) + "\n"


def dump(baseline: Baseline) -> str:
    """The file's text. Fields that are absent stay absent; limits that have a default are written out."""
    content = baseline.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if baseline.relative.quality is not None:
        content["relative"]["quality"] = baseline.relative.quality.model_dump()
    content["relative"]["peak_memory"] = baseline.relative.peak_memory.model_dump(exclude_none=True)
    return json.dumps(content, indent=2) + "\n"


def _said(baseline: Baseline, path: Path, machine: str) -> str:
    limits = "product limits hold" if baseline.product is not None else "it has relative limits only"
    if baseline.machine == PORTABLE:
        own = path.with_name(f"{machine}.json")
        why = f"was passed over ({own} exists)" if own.exists() else "has no baseline of its own"
        return f"{machine} {why}: {path} applies, with relative limits only"
    samples = "recorded samples" if baseline.recorded else "no recorded samples"
    return f"{path} applies: {limits}, {samples} of {machine}"
