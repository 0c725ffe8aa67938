"""What does not change from step to step, computed once: by the options at load, by the request at its start.

At load, for all times of the grid in one product each: time embeddings and the adaptive norms' modulations,
whose weights (two fifths of F5TTS_v1_Base) are then dropped. Once a request: the text embeddings, the share
of the input projection that does not see the noise, and the rotary angles. Upstream repeats all of it at
every step, except that it keeps the text embeddings for as long as there is guidance.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine import batching, dit, sampler
from engine.errors import EngineError, OptionsError
from engine.evidence import Evidence, Observations
from engine.options import Options
from engine.text_embedding import embed_text

if TYPE_CHECKING:
    from torch import Tensor

    from engine.optimizations.guidance import Evaluate, Half


def apply(
    backbone: sampler.Backbone, transformer: Any, options: Options, observed: Observations
) -> sampler.Backbone:
    """Drive upstream's `DiT` step by step without what can be known before.

    The transformer's own `forward` no longer works afterwards: its norms take modulations for time
    embeddings.

    Raises:
        OptionsError: the backbone is not a DiT with torch's attention.
    """
    if not options.hoist:
        return backbone
    name = type(transformer).__name__
    if name != "DiT" or not batching.maskable(transformer):
        raise OptionsError(
            f"hoist with the backbone {name}",
            "a DiT with attn_backend 'torch'",
            "Load an F5-TTS checkpoint, or hoist=False",
        )
    return _Hoisted(transformer, options, observed).begin


class _Hoisted:
    """A DiT whose times are fixed. Nothing changes after construction, so any thread may begin a request."""

    def __init__(self, transformer: Any, options: Options, observed: Observations) -> None:
        import torch

        self._transformer, self._observed = transformer, observed
        device = transformer.proj_out.weight.device
        grid = sampler.time_grid(options, device)
        self._times = sampler.evaluation_times(grid, sampler.solver(options))
        with torch.no_grad():
            embedded = transformer.time_embed(self._times)  # [nfe, d]
            self._blocks = [
                (block, _modulations(block.attn_norm, embedded)) for block in transformer.transformer_blocks
            ]
            self._last = _modulations(transformer.norm_out, embedded)
        for block, _ in self._blocks:
            block.attn.processor = dit.TabledAttention(block.attn.processor)

    @contextlib.contextmanager
    def begin(self, cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None) -> Iterator[Evaluate]:
        """One request; see `sampler.Backbone`."""
        import torch

        if not torch.equal(times, self._times):
            raise EngineError(
                f"a time grid of {len(times)} evaluations with hoist",
                f"the {len(self._times)} that the engine was loaded with",
                "Load an engine with the options of that grid",
            )
        transformer, frames = self._transformer, cond.shape[1]
        dtype = transformer.proj_out.weight.dtype
        rope = dit.table(transformer.rotary_embed, frames)
        kept: dict[Half, Tensor] = {}

        def fixed(half: Half) -> Tensor:
            # No call of itself: that would be a cycle, and keep the request's tensors until a collection.
            halves: tuple[Half, ...] = ("conditional", "unconditional") if half == "both" else (half,)
            for one in halves:
                if one not in kept:
                    kept[one] = self._fixed(cond.to(dtype), tokens, mask, dropped=one == "unconditional")
            if half not in kept:
                kept[half] = torch.cat([kept[one] for one in halves])
            return kept[half]

        def evaluate(x: Tensor, evaluation: int, half: Half) -> Tensor:
            self._observed.add("hoisted calls")
            copies = 2 if half == "both" else 1
            masks = None if mask is None else mask.repeat(copies, 1)
            moving = self._moving(x.to(dtype)).repeat(copies, 1, 1)
            return self._forward(moving + fixed(half), evaluation, masks, rope)

        yield evaluate

    def _fixed(self, cond: Tensor, tokens: Tensor, mask: Tensor | None, *, dropped: bool) -> Tensor:
        """What clip and words add to the projected input in every step, [b, n, d]; nothing of either when
        dropped."""
        import torch
        from torch.nn import functional

        transformer = self._transformer
        if mask is None:
            text = transformer.text_embed(tokens, seq_len=cond.shape[1], drop_text=dropped)  # [b, n, dt]
        else:
            text = embed_text(transformer, tokens, mask, drop_text=dropped)
        self._observed.add("text embeddings")
        given = torch.cat([torch.zeros_like(cond) if dropped else cond, text], dim=-1)
        projection = transformer.input_embed.proj
        weight = projection.weight[:, cond.shape[2] :]
        return functional.linear(given, weight, projection.bias)

    def _moving(self, x: Tensor) -> Tensor:
        """What the noisy mel adds: the same for both halves, [b, n, d]."""
        from torch.nn import functional

        return functional.linear(x, self._transformer.input_embed.proj.weight[:, : x.shape[2]])

    def _forward(self, x: Tensor, evaluation: int, mask: Tensor | None, rope: Any) -> Tensor:
        """Upstream's `DiT.forward` from the projected input on, with modulations for time embeddings."""
        import torch

        transformer = self._transformer
        now = slice(evaluation, evaluation + 1)
        x = residual = transformer.input_embed.conv_pos_embed(x, mask=mask) + x
        for block, modulations in self._blocks:
            x = block(x, modulations[now], mask=mask, rope=rope)
        if transformer.long_skip_connection is not None:
            x = transformer.long_skip_connection(torch.cat((x, residual), dim=-1))
        out: Tensor = transformer.proj_out(transformer.norm_out(x, self._last[now]))
        return out


def _modulations(norm: Any, embedded: Tensor) -> Tensor:
    """Shifts, scales and gates of an adaptive norm for all times, [nfe, k d]; from now on it is handed them.

    The norm computes `linear(silu(embedding))`: with both replaced by the identity, the modulations
    themselves are its embedding.
    """
    import torch

    rows: Tensor = norm.linear(norm.silu(embedded))
    norm.silu, norm.linear = torch.nn.Identity(), torch.nn.Identity()
    return rows


def evidence(options: Options, observed: Observations) -> Evidence:
    """Calls of the transformer that went through the hoisted path, of all calls."""
    calls, hoisted = observed.counts["calls"], observed.counts["hoisted calls"]
    if not calls:
        return Evidence(None, "no evaluation yet")
    seen = f"{hoisted} of {calls} calls hoisted, {observed.counts['text embeddings']} text embeddings"
    # More than were finished, where a batch ran out of memory on the way.
    return Evidence(hoisted >= calls if options.hoist else hoisted == 0, seen)
