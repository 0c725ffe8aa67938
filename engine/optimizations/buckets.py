"""Sequence lengths padded up to a few, so that neither a compiler nor an allocator meets a new one.

The padding is masked wherever frames meet: in attention, in the position convolutions, and in the text
embedding. The vocoder, whose convolutions cannot be masked, is not padded.
"""

from __future__ import annotations

import dataclasses

from engine import dit
from engine.errors import OptionsError
from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options

SMALLEST, PER_DOUBLING = 128, 4
"""Shortest length, and lengths up to its double: no sequence grows by more than a quarter."""


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Pad every sequence, and let attention obey masks.

    Raises:
        OptionsError: the backbone cannot be masked.
    """
    if not options.buckets:
        return parts
    transformer = parts.model.transformer
    if not dit.maskable(transformer):
        raise OptionsError(
            f"buckets with the backbone {type(transformer).__name__}",
            "a DiT with attn_backend: torch, whose padding can be masked",
            "Load an F5-TTS checkpoint, or use buckets=False",
        )
    dit.mask_attention(transformer)
    return dataclasses.replace(parts, bucket=length)


def length(frames: int) -> int:
    """The bucket of a sequence: the next of 128, 160, 192, 224, 256, 320, ... frames."""
    if frames <= SMALLEST:
        return SMALLEST
    step = (1 << (frames - 1).bit_length() - 1) // PER_DOUBLING
    return -(-frames // step) * step


def evidence(options: Options, seen: Observations) -> Evidence:
    """Lengths that the transformer saw, against those of the sequences in them."""
    if not seen.batches:
        return Evidence(None, "no evaluation yet")
    lengths = sorted({batch.length for batch in seen.batches})
    observed = f"{len(lengths)} lengths: {', '.join(map(str, lengths[:20]))}"
    if not options.buckets:
        return Evidence(all(batch.length == batch.longest for batch in seen.batches), observed)
    masked = all(batch.masked for batch in seen.batches if batch.length > batch.longest)
    padded = all(length(frames) == frames for frames in lengths)
    return Evidence(masked and padded, observed if masked else f"{observed}, padding not masked")
