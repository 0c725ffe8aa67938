"""Baselines: what a machine is held to, and what was recorded on it. No doubtful file is ever a pass.

A machine has `<key>.json` or shares `portable.json`. Limits may be edited by hand; sessions are checksummed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from engine.errors import BaselineError
from engine.gate.data.files import reason
from engine.gate.data.limits import PORTABLE as PORTABLE
from engine.gate.data.limits import Baseline as Baseline
from engine.gate.data.limits import Limit as Limit
from engine.gate.data.limits import Product as Product
from engine.gate.data.limits import ProductLimits as ProductLimits
from engine.gate.data.limits import RelativeLimits as RelativeLimits
from engine.gate.data.limits import Session as Session
from engine.gate.data.samples import EditedError
from engine.gate.data.workloads import check_pins
from engine.options import Options

BASELINES = Path("baselines")
"""The folder's name, in the checkout that holds the running engine."""
SCHEMA_VERSION = 2


class Selection(NamedTuple):
    """The baseline that a run is judged by, the sentence that says so, and a file that it stands in for.

    `passed_over` is the machine's own file where `--baseline` named the portable one instead.
    """

    baseline: Baseline
    path: Path
    said: str
    passed_over: Path | None = None

    def product(self, checkpoint: str, options: Mapping[str, Any] | str) -> Product | None:
        """The product of this checkpoint and these options, or None: no other product's limits ever apply.

        `options` are as typed (`jetson`) or as a run records them (those that differ from the reference).
        """
        asked = dict(options) if isinstance(options, Mapping) else Options.parse(options).changed()
        for product in self.baseline.products:
            if product.checkpoint == checkpoint and Options.parse(product.options).changed() == asked:
                return product
        return None


def select(machine: str, directory: Path = BASELINES, path: Path | None = None) -> Selection:
    """The baseline of `machine`: `path` if given, else its own file, else `portable.json`, said aloud.

    Raises:
        BaselineError: the file is missing, unreadable, of another schema or machine, or holds a placeholder;
            or a workload that it pins vanished or changed.
        EditedError: a recorded session was edited.
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
    passed_over = own if baseline.machine == PORTABLE and own.exists() else None
    return Selection(baseline, path, _said(baseline, path, machine, passed_over), passed_over)


def load(path: Path) -> Baseline:
    """The checked baseline in `path`.

    Raises:
        BaselineError: missing, unreadable, wrong schema version, placeholder.
        EditedError: a recorded session was edited.
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
                f"{SCHEMA_VERSION}, as baselines/README.md describes",
                "Write its limits into a copy of portable.json and record its samples anew: nox -s record",
            )
        baseline = Baseline.model_validate_json(text)
        for product in baseline.products:
            Options.parse(product.options)
    except ValueError as error:  # OptionsError is one
        raise BaselineError(
            f"{where}: {reason(error)}",
            "real, finite, positive values as schema.json describes, and options that the engine knows",
            "Correct that field, or restore the file from git",
        ) from error
    for session in baseline.sessions:
        if session.sha256 != session.checksum():
            raise EditedError(
                f"{where}: the session of {session.recorded_at.isoformat()} does not match its checksum",
                "samples as they were measured",
                "Restore the session or record again; only limits are edited by hand",
            )
    return baseline


def schema() -> str:
    """The JSON Schema of a baseline file, as committed in `baselines/schema.json`."""
    return json.dumps(Baseline.model_json_schema(), indent=2) + "\n"


def dump(baseline: Baseline) -> str:
    """The file's text. Fields that are absent stay absent; limits that have a default are written out."""
    content = baseline.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    if baseline.relative.quality is not None:
        content["relative"]["quality"] = baseline.relative.quality.model_dump()
    return json.dumps(content, indent=2) + "\n"


def _said(baseline: Baseline, path: Path, machine: str, passed_over: Path | None) -> str:
    if baseline.machine == PORTABLE:
        why = f"was passed over ({passed_over} exists)" if passed_over else "has no baseline of its own"
        return f"{machine} {why}: {path} applies, with relative limits only"
    products = [f"{product.checkpoint} ({product.options})" for product in baseline.products]
    limits = f"limits of {', '.join(products)} hold" if products else "it has relative limits only"
    count = len(baseline.sessions)
    sessions = f"{count} recorded session{'s' * (count > 1)}" if count else "no recorded sessions"
    return f"{path} applies: {limits}, {sessions} of {machine}"
