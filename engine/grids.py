"""Time grids found by search, with the record of how they were found (`nox -s grid-search` writes it)."""

from __future__ import annotations

import json
from pathlib import Path

GRIDS = Path(__file__).with_name("grids.json")


def searched() -> dict[int, tuple[float, ...]]:
    """Euler steps -> times from 0 to 1, one more than steps."""
    record = json.loads(GRIDS.read_text(encoding="utf8"))
    return {int(steps): tuple(grid) for steps, grid in record["grids"].items()}
