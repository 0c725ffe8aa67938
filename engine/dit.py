"""Upstream's attention with rotary angles from a table: one complex product turns a head.

Upstream's `apply_rotary_pos_emb` computes sines and cosines of the same angles in every block of every step,
and turns pairs of numbers by a dozen passes over the heads (arXiv:2104.09864, equation 34).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def table(rotary_embed: Any, frames: int) -> Tensor:
    """Cosines and sines of the angles of `x_transformers.RotaryEmbedding`, [n, d/2, 2]."""
    import torch

    angles = rotary_embed.forward_from_seq_len(frames)[0][0, :, ::2]  # [n, d/2]: upstream repeats each
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def turn(heads: Tensor, angles: Tensor) -> Tensor:
    """Rotate neighbouring pairs of `heads` [b, h, n, d] by a table [n, d/2, 2], computed in fp32."""
    import torch

    pairs: Any = heads.float().view(*heads.shape[:-1], -1, 2)  # [b, h, n, d/2, 2]
    if torch.compiler.is_compiling():  # Inductor fuses real numbers and knows no complex ones
        (x, y), (cos, sin) = pairs.unbind(-1), angles.unbind(-1)
        turned = torch.stack((x * cos - y * sin, y * cos + x * sin), dim=-1)
    else:
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(angles))
    return turned.flatten(-2).to(heads.dtype)


class TabledAttention:
    """Upstream's `AttnProcessor` for torch's attention, with its attributes; `rope` is the table."""

    def __init__(self, upstreams: Any) -> None:
        self.pe_attn_head = upstreams.pe_attn_head  # heads that are turned; None: all of them
        self.attn_backend = upstreams.attn_backend
        self.attn_mask_enabled = upstreams.attn_mask_enabled

    def __call__(self, attn: Any, x: Tensor, mask: Tensor | None = None, rope: Any = None) -> Tensor:
        """`x` [b, n, d] -> [b, n, d]; `mask` [b, n] is true where there is something."""
        from torch.nn import functional

        q, k, v = (
            one(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # [b, h, n, d/h]
            for one in (attn.to_q, attn.to_k, attn.to_v)
        )
        q, k = (norm(one) if norm is not None else one for norm, one in ((attn.q_norm, q), (attn.k_norm, k)))
        q, k = self._turned(q, rope), self._turned(k, rope)
        seen = mask[:, None, None] if mask is not None and self.attn_mask_enabled else None  # [b, 1, 1, n]
        out: Tensor = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        return out if mask is None else out.masked_fill(~mask[..., None], 0.0)

    def _turned(self, heads: Tensor, angles: Tensor) -> Tensor:
        import torch

        some = self.pe_attn_head
        if some is None:
            return turn(heads, angles)
        return torch.cat([turn(heads[:, :some], angles), heads[:, some:]], dim=1)
