"""Blocks of upstream's `DiT` over the CPU kernels of `engine.native`: four operations where torch has forty.

`project` normalises, modulates and quantises, multiplies by the weights of q, k and v at once and turns
heads; `attention` keeps its scores in cache; `merge` and `feed` quantise, multiply, and add what their gates
let through, in place. Activations are scaled by frame, so that a frame depends neither on its batch nor on
padding.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from engine import native
from engine.errors import OptionsError

if TYPE_CHECKING:
    from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[b, h, n, 64] each -> [b, n, h * 64] float32, products in bf16; `mask` [b, n] is true up to each one's
    end."""
    out: Tensor = native.operations().attention(
        q.contiguous(), k.contiguous(), v.contiguous(), lengths(mask, *q.shape[::2][:2])
    )
    return out


def lengths(mask: Tensor | None, batch: int, frames: int) -> Tensor:
    """Frames of each sequence, [b] int64: all of them without a mask."""
    import torch

    return torch.full((batch,), frames) if mask is None else mask.sum(dim=1)


def check_heads(transformer: Any, what: str) -> list[Any]:
    """The blocks of a DiT whose attention the kernel can compute.

    Raises:
        OptionsError: another backbone, or heads that are not 64 wide.
    """
    blocks = list(getattr(transformer, "transformer_blocks", []))
    if not blocks or any(block.attn.inner_dim != native.HEAD * block.attn.heads for block in blocks):
        raise _strange(transformer, what, f"a DiT with heads that are {native.HEAD} wide")
    return blocks


def check(transformer: Any, what: str) -> list[Any]:
    """The blocks of a DiT that the kernels can take the place of.

    Raises:
        OptionsError: another backbone, heads that are not 64 wide, norms of queries, or odd sizes.
    """
    blocks = check_heads(transformer, what)
    for block in blocks:
        odd = any(size % native.HEAD for size in block.ff.ff[0][0].weight.shape)
        if odd or block.attn.q_norm is not None or block.attn.k_norm is not None:
            raise _strange(transformer, what, "a DiT without norms of queries and keys")
    return blocks


def _strange(transformer: Any, what: str, expected: str) -> OptionsError:
    name = type(transformer).__name__
    return OptionsError(
        f"{what} with the backbone {name}", expected, "Load an F5-TTS checkpoint, or leave it out"
    )


def block(upstreams: Any, *, first: bool) -> Any:
    """A module in the place of upstream's `DiTBlock`, its linears rounded to 8 bits and let go.

    Args:
        upstreams: the block; its adaptive norm and its attention processor stay and are obeyed.
        first: whether what it is given must be left as it is: later ones add to it in place.
    """
    return _class()(upstreams, first)


@functools.cache
def _class() -> Any:
    """The module's class; made on first use, because importing torch is left to those who load a model."""
    import torch
    from torch.nn import functional

    class FusedBlock(torch.nn.Module):
        """[b, n, d] float32 and the modulations [1, 6 d] -> [b, n, d]."""

        def __init__(self, upstreams: Any, first: bool) -> None:
            super().__init__()
            self.attn_norm, self.attn, self.first = upstreams.attn_norm, upstreams.attn, first
            attn, feed = upstreams.attn, upstreams.ff.ff
            three = (attn.to_q, attn.to_k, attn.to_v)
            bias = torch.cat([linear.bias for linear in three])
            self._project = native.pack(torch.cat([linear.weight for linear in three]), bias)
            self._merge = native.pack(attn.to_out[0].weight, attn.to_out[0].bias)
            self._rise = native.pack(feed[0][0].weight, feed[0][0].bias)
            self._fall = native.pack(feed[2].weight, feed[2].bias)
            for name in ("to_q", "to_k", "to_v"):
                setattr(attn, name, torch.nn.Identity())
            attn.to_out[0] = torch.nn.Identity()

        def forward(self, x: Tensor, t: Tensor, mask: Tensor | None = None, rope: Any = None) -> Tensor:
            operations, processor = native.operations(), self.attn.processor
            shift, scale, gate, feed_shift, feed_scale, feed_gate = t[0].chunk(6)
            x = x.clone(memory_format=torch.contiguous_format) if self.first else x
            turning = self.attn.heads if processor.pe_attn_head is None else processor.pe_attn_head
            q, k, v = operations.project(
                x, scale, shift, *self._project, rope, turning, processor.kernel is not None
            )
            obeyed = mask if processor.attn_mask_enabled else None
            if processor.kernel is not None:
                joined = processor.kernel(q, k, v, obeyed)
            else:
                wide = None if obeyed is None else obeyed[:, None, None]
                joined = functional.scaled_dot_product_attention(q, k, v, attn_mask=wide)
                joined = joined.transpose(1, 2).flatten(2)
            operations.merge(x, joined, gate, *self._merge, lengths(mask, *x.shape[:2]))
            operations.feed(x, feed_scale, feed_shift, feed_gate, *self._rise, *self._fall)
            return x

    return FusedBlock
