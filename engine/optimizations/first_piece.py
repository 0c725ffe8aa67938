"""A short first piece, so that the first audio of a long text comes sooner."""

from __future__ import annotations

import dataclasses

from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Have the first piece cut off where a text is longer than it; all else is split as before."""
    if not options.first_piece:
        return parts
    return dataclasses.replace(parts, opening=options.first_piece)


def evidence(options: Options, seen: Observations) -> Evidence:
    """Texts whose first piece was cut short, and those where it could have been and was not; the work done on
    the last one before it could be heard."""
    counts = seen.counts
    if not counts["requests"]:
        return Evidence(None, "no request yet")
    cut, missed = counts["openings cut"], counts["openings missed"]
    observed = (
        f"{cut} texts cut and {missed} not, first pieces of up to {counts['longest first piece']} bytes, "
        f"streamed after {counts['evaluations before audio']} evaluations "
        f"of {counts['frames before audio']} frames"
    )
    if not options.first_piece:
        return Evidence(cut == 0, observed)
    return Evidence(False if missed else True if cut else None, observed)
