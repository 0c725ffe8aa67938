"""Upstream's DiT as the engine drives it: masks, text embeddings, and a forward pass of our own.

The forward pass computes once what steps have in common (`Hoisted`), and turns heads by rotary angles from a
table: one complex product, where upstream's `apply_rotary_pos_emb` computes sines and cosines of the same
angles in every block of every step, and turns pairs of numbers by a dozen passes over the heads
(arXiv:2104.09864, equation 34).
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import EngineError

if TYPE_CHECKING:
    from torch import Tensor

    from engine.evidence import Observations
    from engine.sampler import Evaluate, Half

Forward = Callable[..., "Tensor"]
"""(x, given, modulations, mask, rope) -> flow; see `Hoisted.forward`."""


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
    """Upstream's `AttnProcessor` for torch's attention, with its attributes; `rope` is the table.

    `kernel`, where it is set, takes the place of torch's attention: q, k, v [b, h, n, d/h] and the mask
    [b, n] that is obeyed -> [b, n, d] float32.
    """

    def __init__(self, upstreams: Any) -> None:
        self.pe_attn_head = upstreams.pe_attn_head  # heads that are turned; None: all of them
        self.attn_backend = upstreams.attn_backend
        self.attn_mask_enabled = upstreams.attn_mask_enabled
        self.kernel: Any = None

    def __call__(self, attn: Any, x: Tensor, mask: Tensor | None = None, rope: Any = None) -> Tensor:
        """`x` [b, n, d] -> [b, n, d]; `mask` [b, n] is true where there is something."""
        from torch.nn import functional

        q, k, v = (
            linear(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # [b, h, n, d/h]
            for linear in (attn.to_q, attn.to_k, attn.to_v)
        )
        q = q if attn.q_norm is None else attn.q_norm(q)
        k = k if attn.k_norm is None else attn.k_norm(k)
        q, k = self._turned(q, rope), self._turned(k, rope)
        obeyed = mask if self.attn_mask_enabled else None
        out: Tensor
        if self.kernel is not None:
            out = self.kernel(q, k, v, obeyed).to(x.dtype)
        else:
            wide = None if obeyed is None else obeyed[:, None, None]  # [b, 1, 1, n]
            out = functional.scaled_dot_product_attention(q, k, v, attn_mask=wide).transpose(1, 2).flatten(2)
        out = attn.to_out[1](attn.to_out[0](out))
        return out if mask is None else out.masked_fill(~mask[..., None], 0.0)

    def _turned(self, heads: Tensor, angles: Tensor) -> Tensor:
        import torch

        count = self.pe_attn_head
        if count is None:
            return turn(heads, angles)
        return torch.cat([turn(heads[:, :count], angles), heads[:, count:]], dim=1)


def maskable(transformer: Any) -> bool:
    """Whether every part of this backbone that looks at several frames can be told which are padding.

    Upstream's `DiT` masks its position convolutions and, with PyTorch's attention, its keys. `UNetT` (E2-TTS)
    does not mask its convolutions, and `flash_attn` cuts the padding off.
    """
    blocks = getattr(transformer, "transformer_blocks", [])
    return bool(blocks) and all(block.attn.processor.attn_backend == "torch" for block in blocks)


def mask_attention(transformer: Any) -> None:
    """Let attention obey the mask of a padded batch. Without a mask nothing changes.

    Upstream's shipped configurations leave `attn_mask_enabled` off, so that a padded batch attends to its
    padding. The flag belongs to each block's attention processor, which reads it at every call.
    """
    for block in transformer.transformer_blocks:
        block.attn.processor.attn_mask_enabled = True


def masks_attention(transformer: Any) -> bool:
    """Whether attention obeys a mask, as its processors stand."""
    blocks = getattr(transformer, "transformer_blocks", [])
    return all(block.attn.processor.attn_mask_enabled for block in blocks)


def embed_text(transformer: Any, tokens: Tensor, mask: Tensor, *, drop_text: bool) -> Tensor:
    """One half of what guidance asks of upstream's `text_embed`: with the text, or with it dropped.

    Upstream's own batched embedding is not that of each text alone: the response normalisation of its
    convolutions sums over the filler behind the text too, of which a padded text has more, and what it gives
    is as long as the longest text and not as the padded sequences.

    Args:
        transformer: upstream's backbone.
        tokens: [b, nt] int64, each text ended by -1 where it is shorter.
        mask: [b, n] bool, true where a sequence has frames.
        drop_text: embed the absence of the text.

    Returns:
        [b, n, dt], zero where the mask is false.
    """
    import torch
    from torch.nn import functional

    alone = [
        transformer.text_embed(text[text != -1][None], seq_len=frames, drop_text=drop_text)  # [1, frames, dt]
        for text, frames in zip(tokens, mask.sum(dim=1).tolist(), strict=True)
    ]
    return torch.cat([functional.pad(text, (0, 0, 0, mask.shape[1] - text.shape[1])) for text in alone])


class Hoisted:
    """A DiT whose times are fixed: a `sampler.Backbone` that computes once what steps have in common.

    At load, for all times of the grid in one product each: time embeddings and the adaptive norms'
    modulations, whose weights (two fifths of F5TTS_v1_Base) are then dropped. Once a batch: the text
    embeddings, the share of the input projection that does not see the noise, and the rotary angles. Upstream
    repeats all of it at every step, except that it keeps the text embeddings while there is guidance.

    The transformer's own `forward` no longer works afterwards: its norms take modulations for time
    embeddings. Nothing changes after construction, so any thread may begin a batch.

    Args:
        transformer: upstream's `DiT`.
        times: of all evaluations, [nfe].
        seen: counts calls that go this way, and what is embedded once more.
    """

    def __init__(self, transformer: Any, times: Tensor, seen: Observations) -> None:
        import torch

        self._transformer, self._times, self._seen = transformer, times, seen
        self._run: Forward | None = None
        with torch.no_grad():
            embedded = transformer.time_embed(times)  # [nfe, d]
            norms = [*(block.attn_norm for block in transformer.transformer_blocks), transformer.norm_out]
            rows = [_modulations(norm, embedded) for norm in norms]
        self._widths = [row.shape[1] for row in rows]
        self._modulations = torch.cat(rows, dim=1)  # [nfe, k]: those of all blocks, then the last norm's
        for block in transformer.transformer_blocks:
            block.attn.processor = TabledAttention(block.attn.processor)
        for name in ("time_embed", "text_embed"):
            count = functools.partial(_count, seen, f"{name} calls")
            getattr(transformer, name).register_forward_hook(count)

    @contextlib.contextmanager
    def __call__(
        self, cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None
    ) -> Iterator[Evaluate]:
        """One batch; see `sampler.Backbone`."""
        import torch

        if not torch.equal(times, self._times):
            raise EngineError(
                f"a time grid of {len(times)} evaluations with hoist",
                f"the {len(self._times)} that the engine was loaded with",
                "Load an engine with the options of that grid",
            )
        self._seen.add("hoisted batches", len(cond))
        yield _HoistedBatch(self, cond, tokens, mask)

    def through(self, run: Forward) -> Hoisted:
        """The same transformer, each of whose evaluations is computed by `run` in place of `forward`."""
        other = copy.copy(self)
        other._run = run
        return other

    def given(self, cond: Tensor, tokens: Tensor, mask: Tensor | None, *, dropped: bool) -> Tensor:
        """What clip and words add to the projected input in every step, [b, n, d]; nothing of either when
        dropped."""
        import torch
        from torch.nn import functional

        transformer = self._transformer
        cond = cond.to(transformer.proj_out.weight.dtype)
        if mask is None:
            text = transformer.text_embed(tokens, seq_len=cond.shape[1], drop_text=dropped)  # [b, n, dt]
        else:
            text = embed_text(transformer, tokens, mask, drop_text=dropped)
        both = torch.cat([torch.zeros_like(cond) if dropped else cond, text], dim=-1)
        projection = transformer.input_embed.proj
        return functional.linear(both, projection.weight[:, cond.shape[2] :], projection.bias)

    def rope(self, frames: int) -> Tensor:
        """The rotary table of so many frames, [n, d/2, 2]."""
        return table(self._transformer.rotary_embed, frames)

    def evaluate(
        self, x: Tensor, given: Tensor, evaluation: int, mask: Tensor | None, rope: Tensor
    ) -> Tensor:
        """The transformer at the time of that evaluation; shapes as in `forward`."""
        self._seen.add("hoisted calls")
        run = self._run or self.forward
        return run(x, given, self._modulations[evaluation : evaluation + 1], mask, rope)

    def forward(
        self, x: Tensor, given: Tensor, modulations: Tensor, mask: Tensor | None, rope: Tensor
    ) -> Tensor:
        """Upstream's `DiT.forward` with modulations [1, k] for a time embedding.

        `x` [b, n, d] and `given` [b or 2 b, n, d] -> [b or 2 b, n, d]. It reads nothing but its arguments and
        the weights, and never makes the host wait, so that it can be recorded.
        """
        import torch
        from torch.nn import functional

        transformer, copies = self._transformer, len(given) // len(x)
        *blocks, last = torch.split(modulations, self._widths, dim=1)
        mask = None if mask is None else mask.repeat(copies, 1)
        weight = transformer.input_embed.proj.weight[:, : x.shape[2]]
        moving = functional.linear(x.to(weight.dtype), weight)  # [b, n, d], the same for both halves
        x = moving.repeat(copies, 1, 1) + given
        x = residual = transformer.input_embed.conv_pos_embed(x, mask=mask) + x
        for block, row in zip(transformer.transformer_blocks, blocks, strict=True):
            x = block(x, row, mask=mask, rope=rope)
        if transformer.long_skip_connection is not None:
            x = transformer.long_skip_connection(torch.cat((x, residual), dim=-1))
        out: Tensor = transformer.proj_out(transformer.norm_out(x, last))
        return out


class _HoistedBatch:
    """`sampler.Evaluate` on a `Hoisted` transformer: keeps what does not change while the batch lasts."""

    def __init__(self, hoisted: Hoisted, cond: Tensor, tokens: Tensor, mask: Tensor | None) -> None:
        self._hoisted, self._mask = hoisted, mask
        self._inputs = (cond, tokens, mask)
        self._rope = hoisted.rope(cond.shape[1])
        self._given: dict[str, Tensor] = {}

    def __call__(self, x: Tensor, evaluation: int, half: Half) -> Tensor:
        given = self._given.get(half)
        if given is None:
            given = self._given[half] = self._project(half)
        return self._hoisted.evaluate(x, given, evaluation, self._mask, self._rope)

    def _project(self, half: Half) -> Tensor:
        """`Hoisted.given` of one half, or of both, each computed once."""
        import torch

        for single in ("conditional", "unconditional"):
            if single not in self._given and half in (single, "both"):
                dropped = single == "unconditional"
                self._given[single] = self._hoisted.given(*self._inputs, dropped=dropped)
        if half != "both":
            return self._given[half]
        return torch.cat([self._given["conditional"], self._given["unconditional"]])


def _count(seen: Observations, what: str, *_: object) -> None:
    """A forward hook that changes nothing."""
    seen.add(what)


def _modulations(norm: Any, embedded: Tensor) -> Tensor:
    """Shifts, scales and gates of an adaptive norm for all times, [nfe, k d]; from now on it is handed them.

    The norm computes `linear(silu(embedding))`: with both replaced by the identity, the modulations
    themselves are its embedding.
    """
    import torch

    rows: Tensor = norm.linear(norm.silu(embedded))
    norm.silu, norm.linear = torch.nn.Identity(), torch.nn.Identity()
    return rows
