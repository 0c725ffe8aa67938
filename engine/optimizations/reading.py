"""How texts are read: as they are, or as a person reads chat aloud."""

from __future__ import annotations

import dataclasses

from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options
from engine.reading import READINGS


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Put the reading that was asked for in the place of the checkpoint's own."""
    if options.reading == "auto":
        return parts
    return dataclasses.replace(parts, reading=READINGS[options.reading])


def note(given: str, read: str, seen: Observations) -> None:
    """Count what a reading did to one text: whether it changed it, and the figures before and after."""
    seen.add("texts read")
    seen.add("texts changed", given != read)
    seen.add("figures given", sum(map(str.isdecimal, given)))
    seen.add("figures left", sum(map(str.isdecimal, read)))


def evidence(options: Options, seen: Observations) -> Evidence:
    """Texts that came out otherwise than they went in, and the figures that were left in them."""
    counts = seen.counts
    if not counts["texts read"]:
        return Evidence(None, "no text yet")
    changed, figures, left = counts["texts changed"], counts["figures given"], counts["figures left"]
    observed = f"{changed} of {counts['texts read']} texts changed, {left} of {figures} figures left"
    if options.reading == "auto":
        return Evidence(True, observed)
    if options.reading == "raw":
        return Evidence(changed == 0, observed)
    if left or (figures and not changed):
        return Evidence(False, observed)
    return Evidence(True if changed else None, observed)
