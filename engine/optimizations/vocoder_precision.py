"""Vocos backbone in bf16 or fp16. Its head (magnitude, phase, inverse STFT) stays in fp32."""

from __future__ import annotations

from engine.evidence import Evidence, Observations
from engine.optimizations import Parts
from engine.options import Options


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Cast the backbone; its input is cast on the way in. The caller hands the head fp32."""
    if options.vocoder_precision == "fp32":
        return parts
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[options.vocoder_precision]
    parts.vocos.backbone.to(dtype)
    parts.vocos.backbone.register_forward_pre_hook(lambda _module, inputs: (inputs[0].to(dtype),))
    return parts


def evidence(options: Options, seen: Observations) -> Evidence:
    """The format in which the backbone's output arrived at the head."""
    formats = seen.dtypes("vocoder")
    if not formats:
        return Evidence(None, "nothing decoded yet")
    return Evidence(formats == {options.vocoder_precision}, f"backbone gave {', '.join(sorted(formats))}")
