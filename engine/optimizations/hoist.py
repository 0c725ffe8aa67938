"""What does not change from step to step, computed once: at load, or where a batch begins."""

from __future__ import annotations

import dataclasses

from engine import dit, sampler
from engine.errors import OptionsError
from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Drive upstream's `DiT` step by step without what can be known before (`engine.dit.Hoisted`).

    Raises:
        OptionsError: the backbone is not a DiT with torch's attention.
    """
    if not options.hoist:
        return parts
    transformer = parts.model.transformer
    name = type(transformer).__name__
    if name != "DiT" or not dit.maskable(transformer):
        raise OptionsError(
            f"hoist with the backbone {name}",
            "a DiT with attn_backend 'torch'",
            "Load an F5-TTS checkpoint, or hoist=False",
        )
    grid = sampler.time_grid(options, transformer.proj_out.weight.device)
    times = sampler.evaluation_times(grid, sampler.solver(options))
    return dataclasses.replace(parts, backbone=dit.Hoisted(transformer, times, seen))


def evidence(options: Options, seen: Observations) -> Evidence:
    """Calls of the transformer that went through the hoisted path, of all calls; and how often time and text
    were embedded, as the modules themselves were called: time never, each text once for each half."""
    calls, hoisted = seen.counts["calls"], seen.counts["hoisted calls"]
    if not calls:
        return Evidence(None, "no evaluation yet")
    texts, times = seen.counts["text_embed calls"], seen.counts["time_embed calls"]
    sequences = seen.counts["hoisted batches"]
    observed = (
        f"{hoisted} of {calls} calls hoisted; {texts} text and {times} time embeddings "
        f"for {sequences} sequences"
    )
    if not options.hoist:
        return Evidence(hoisted == 0, observed)
    # More calls than were finished, where a batch ran out of memory on the way.
    return Evidence(hoisted >= calls and texts <= 2 * sequences and times == 0, observed)
