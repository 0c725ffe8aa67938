"""Sequence lengths padded up to a few, so that neither a compiler nor a CUDA graph meets a new one.

The padding is masked wherever frames meet: in attention, in the position convolutions, and in the text
embedding. The vocoder, whose convolutions cannot be masked, is not padded.
"""

from __future__ import annotations

from typing import Any

from engine import batching
from engine.errors import OptionsError
from engine.evidence import Evidence, Observations
from engine.options import Options

SMALLEST, PER_DOUBLING = 128, 4
"""Shortest length, and lengths up to its double: no sequence grows by more than a quarter."""


def apply(model: Any, options: Options) -> Any:
    """Let the attention of an upstream `CFM` obey masks.

    Raises:
        OptionsError: the backbone cannot be masked.
    """
    if not options.buckets:
        return model
    if not batching.maskable(model.transformer):
        raise OptionsError(
            f"buckets with the backbone {type(model.transformer).__name__}",
            "a DiT with attn_backend: torch, whose padding can be masked",
            "Load an F5-TTS checkpoint, or use buckets=False",
        )
    batching.mask_attention(model.transformer)
    return model


def length(frames: int) -> int:
    """The bucket of a sequence: the next of 128, 160, 192, 224, 256, 320, ... frames."""
    if frames <= SMALLEST:
        return SMALLEST
    step = (1 << (frames - 1).bit_length() - 1) // PER_DOUBLING
    return -(-frames // step) * step


def lengths(shortest: int, longest: int) -> list[int]:
    """All buckets that sequences of `shortest` to `longest` frames fall into."""
    found = [length(shortest)]
    while found[-1] < longest:
        found.append(length(found[-1] + 1))
    return found


def evidence(options: Options, observed: Observations) -> Evidence:
    """Lengths that the transformer saw, against those of the sequences in them."""
    batches = observed.batches
    if not batches:
        return Evidence(None, "no evaluation yet")
    seen = sorted({batch.length for batch in batches})
    said = f"{len(seen)} lengths: {', '.join(map(str, seen[:20]))}"
    if not options.buckets:
        return Evidence(all(batch.length == batch.longest for batch in batches), said)
    masked = all(batch.masked for batch in batches if batch.length > batch.longest)
    bucketed = all(length(one) == one for one in seen)
    return Evidence(masked and bucketed, said if masked else f"{said}, padding not masked")
