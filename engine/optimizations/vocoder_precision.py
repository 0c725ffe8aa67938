"""Vocos backbone in bf16 or fp16. Its head (magnitude, phase, inverse STFT) stays in fp32."""

from __future__ import annotations

from typing import Any

from engine.evidence import Evidence, Observations
from engine.options import Options


def apply(vocos: Any, options: Options) -> Any:
    """Cast the backbone; its input is cast on the way in. The caller hands the head fp32."""
    if options.vocoder_precision == "fp32":
        return vocos
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[options.vocoder_precision]
    vocos.backbone.to(dtype)
    vocos.backbone.register_forward_pre_hook(lambda _module, inputs: (inputs[0].to(dtype),))
    return vocos


def evidence(options: Options, observed: Observations) -> Evidence:
    """The format in which the backbone's output arrived at the head."""
    seen = observed.dtypes("vocoder")
    if not seen:
        return Evidence(None, "nothing decoded yet")
    return Evidence(seen == {options.vocoder_precision}, f"backbone gave {', '.join(sorted(seen))}")
