"""Parts of an engine that hold nothing but what a test puts there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine.optimizations import Parts


def parts(**given: Any) -> Parts:
    """Parts with these in them; every other one raises when it is used."""
    empty: dict[str, Any] = dict.fromkeys(("checkpoint", "model", "vocos", "backbone", "vocoder", "prepare"))
    return Parts(**{"device": "cpu", **empty, **given})


def model(transformer: Any) -> Any:
    """A model that is a transformer alone."""
    return SimpleNamespace(transformer=transformer)
