"""Records that a report leans on: read, and named with their date, machine and revision."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import BaselineError
from engine.gate import machine as machines
from engine.gate.baselines.select import BASELINES
from engine.gate.data.files import reason
from engine.gate.measure import revisions


@dataclasses.dataclass(frozen=True)
class Committed:
    """One record.

    Attributes:
        content: what the file holds.
        said: one line for people: which file, when, where, on what.
    """

    path: Path
    content: Mapping[str, Any]
    said: str

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def measured(self, checkpoint: str, machine: str) -> bool:
        """Whether this is about that checkpoint on that machine; ratios of others are not comparable."""
        return bool(self.content.get("checkpoint") == checkpoint and self.content.get("machine") == machine)


def read(name: str, folder: str | Path | None = None) -> Committed:
    """The record `NAME.json`, from `baselines/` of this checkout unless a folder is given.

    Raises:
        BaselineError: there is none, or it cannot be read.
    """
    path = (Path(folder) if folder else revisions.checkout() / BASELINES) / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"record {path.name} in {path.parent.name}: {reason(error)}",
            "a record that was measured and committed",
            f"Measure it (the README of {BASELINES}/ names the command), or point to another folder",
        ) from error
    return Committed(path, content, _said(path, content))


def provenance(schema_version: int, checkpoint: str) -> dict[str, Any]:
    """How a record begins: when, where and on what it was measured; a `+` marks a checkout with changes."""
    commit, dirty = revisions.describe(revisions.checkout())
    return {
        "schema_version": schema_version,
        "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "revision": commit + "+" * dirty,
        "machine": machines.describe().key,
        "checkpoint": checkpoint,
    }


def _said(path: Path, content: Mapping[str, Any]) -> str:
    """`baselines/x.json: box, 2026-01-01 on machine at 0123abcd`, as far as the record says it."""
    parts = [str(content["checkpoint"])] if "checkpoint" in content else []
    if when := content.get("timestamp"):
        parts.append(f"measured {str(when)[:16].replace('T', ' ')} UTC")
    if where := content.get("machine"):
        parts.append(f"on {where if isinstance(where, str) else where.get('key', where)}")
    if commit := content.get("revision"):
        parts.append(f"at {str(commit)[:10]}{'+' * str(commit).endswith('+')}")
    if "command" in content and not parts:
        parts.append(f"from `{content['command']}`")
    return f"`{path.parent.name}/{path.name}`: {', '.join(parts) or 'no date or machine recorded'}"
