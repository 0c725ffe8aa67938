"""Pieces of several requests through the transformer at once (`Engine.synthesize_batch`)."""

from __future__ import annotations

import dataclasses

from engine import dit
from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Put several pieces together, and let attention obey masks where the backbone can be masked at all.

    A backbone that cannot puts only sequences of one length together.
    """
    if options.batch == 1:
        return parts
    if dit.maskable(parts.model.transformer):
        dit.mask_attention(parts.model.transformer)
    return dataclasses.replace(parts, batch=options.batch)


def evidence(options: Options, seen: Observations) -> Evidence:
    """Sizes of the batches that the transformer saw, and how many pieces there were to put together."""
    if not seen.batches:
        return Evidence(None, "no evaluation yet")
    sizes = sorted({batch.size for batch in seen.batches})
    observed = f"batches of {', '.join(map(str, sizes))}"
    if not all(batch.masked for batch in seen.batches if batch.size > 1):
        return Evidence(False, f"{observed}, padding not masked")
    if options.batch > 1 and sizes == [1]:
        alike = seen.counts["most pieces alike"]
        if alike > 1:
            return Evidence(False, f"{observed}, though {alike} pieces could go together")
        return Evidence(None, f"{observed}: nothing to put together yet")
    return Evidence(sizes[-1] <= options.batch, observed)
