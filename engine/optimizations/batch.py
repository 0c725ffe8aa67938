"""Pieces of several requests through the transformer at once (`Engine.synthesize_batch`)."""

from __future__ import annotations

from typing import Any

from engine import batching
from engine.evidence import Evidence, Observations
from engine.options import Options


def apply(model: Any, options: Options) -> Any:
    """Let the attention of an upstream `CFM` obey masks, where its backbone can be masked at all.

    A backbone that cannot puts only sequences of one length together.
    """
    if options.batch > 1 and batching.maskable(model.transformer):
        batching.mask_attention(model.transformer)
    return model


def evidence(options: Options, observed: Observations) -> Evidence:
    """Sizes of the batches that the transformer saw."""
    batches = observed.batches
    if not batches:
        return Evidence(None, "no evaluation yet")
    sizes = sorted({batch.size for batch in batches})
    said = f"batches of {', '.join(map(str, sizes))}"
    if not all(batch.masked for batch in batches if batch.size > 1):
        return Evidence(False, f"{said}, padding not masked")
    if options.batch > 1 and sizes == [1]:
        return Evidence(None, f"{said}: nothing to put together yet")
    return Evidence(sizes[-1] <= options.batch, said)
