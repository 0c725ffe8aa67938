"""A short first piece, so that the first audio of a long text comes sooner."""

from __future__ import annotations

from collections.abc import Callable

from engine import text
from engine.evidence import Evidence, Observations
from engine.options import Options


def apply(
    split: Callable[[str, int], list[str]], options: Options, observed: Observations
) -> Callable[[str, int], list[str]]:
    """Cut the first piece off where a text is longer than it; all else is split as before."""
    if not options.first_piece:
        return split

    def opened(words: str, limit: int) -> list[str]:
        opening = text.opening(words, min(options.first_piece, limit))
        if not opening:
            return split(words, limit)
        observed.add("openings cut")
        return [opening, *split(words[len(opening) :], limit)]

    return opened


def evidence(options: Options, observed: Observations) -> Evidence:
    """The longest first piece, and the work done on the last one before it could be heard."""
    if not observed.counts["requests"]:
        return Evidence(None, "no request yet")
    cut, longest = observed.counts["openings cut"], observed.counts["longest first piece"]
    work = (observed.counts[f"{what} before audio"] for what in ("evaluations", "frames"))
    seen = "{} texts cut, first pieces of up to {} bytes, streamed after {} evaluations of {} frames".format(
        cut, longest, *work
    )
    if not options.first_piece:
        return Evidence(cut == 0, seen)
    if longest > options.first_piece:
        return Evidence(False, seen)
    return Evidence(True if cut else None, seen)
