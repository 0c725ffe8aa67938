"""Transformer weights and products in bf16 or fp16; the flow itself is summed in fp32."""

from __future__ import annotations

from typing import Any

from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Cast the transformer; positions and times keep fp32, where half formats lose whole frames.

    A rotary table in bf16 cannot tell frame 257 from 258, and a time embedding scales t by 1000 before its
    sine.
    """
    if options.precision == "fp32":
        return parts
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    transformer = parts.model.transformer
    rotary, time_embed = transformer.rotary_embed, transformer.time_embed
    transformer.rotary_embed, transformer.time_embed = None, None
    transformer.to(dtype)
    transformer.rotary_embed, transformer.time_embed = rotary, _cast_output(time_embed, dtype)
    return parts


def _cast_output(module: Any, dtype: Any) -> Any:
    """The same module, its result cast by a hook: no wrapper, so parameter names stay upstream's."""
    module.register_forward_hook(lambda _module, _inputs, output: output.to(dtype))
    return module


def evidence(options: Options, seen: Observations) -> Evidence:
    """The format in which the transformer's last product came out of each evaluation.

    A linear layer takes input and weights of one format only and no autocast is used, so its output's format
    is the format of the product.
    """
    formats = seen.dtypes("transformer")
    if not formats:
        return Evidence(None, "no evaluation yet")
    return Evidence(formats == {options.precision}, f"products in {', '.join(sorted(formats))}")
