"""The judges of quality: what was said, by whom, how it sounds, and how far it is from a reference.

All take float32 mono samples at 24 kHz. Importing this package loads numpy, scipy and pydantic only; a
judge's own packages are imported when it is opened, and one that is not installed raises `MissingJudge`.
"""

from engine.gate.data.scores import Distances, Mos, Scores, Signal, WordErrors
from engine.gate.quality.judges.distance import distances
from engine.gate.quality.judges.missing import MissingJudge
from engine.gate.quality.judges.panel import (
    ALL,
    Item,
    Judges,
    Panel,
    hash_of,
    judge,
    judge_all,
    open_panel,
    workers,
)
from engine.gate.quality.judges.signal import inspect

__all__ = [
    "ALL",
    "Distances",
    "Item",
    "Judges",
    "MissingJudge",
    "Mos",
    "Panel",
    "Scores",
    "Signal",
    "WordErrors",
    "distances",
    "hash_of",
    "inspect",
    "judge",
    "judge_all",
    "open_panel",
    "workers",
]
