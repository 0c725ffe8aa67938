"""Which library multiplies the transformer's fp32 linears: MKL, which torch takes by itself, or oneDNN.

MKL takes slower paths on processors that are not Intel's. oneDNN wants its weights in an order of its own, in
which they are packed once.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from engine.errors import DeviceError
from engine.evidence import Evidence, Observations, watching
from engine.optimizations import Parts
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

KERNEL = "mkldnn::_linear_pointwise"
"""What the dispatcher calls the product."""


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Replace the linears of the transformer's blocks, in place, and have one call's kernels watched."""
    if options.linears == "auto":
        return parts
    import torch

    blocks = getattr(parts.model.transformer, "transformer_blocks", None) or parts.model.transformer.layers
    names = [name for name, module in blocks.named_modules() if type(module) is torch.nn.Linear]
    names = [name for name in names if "attn_norm" not in name]  # seen once a step, not by every frame
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(blocks.get_submodule(parent), child, packed(blocks.get_submodule(name)))
    seen.add("packed linears", len(names))
    return dataclasses.replace(parts, around=watching(parts.around, seen))


def packed(linear: Any) -> Any:
    """A module that computes `linear` by oneDNN."""
    return _class()(linear)


@functools.cache
def _class() -> Any:
    """The module's class; made on first use, because importing torch is left to those who load a model."""
    import torch

    class PackedLinear(torch.nn.Module):
        """[..., in] -> [..., out] float32."""

        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.out_features = linear.out_features
            self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
            self.bias = linear.bias

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
            return out

    return PackedLinear


def check_device(options: Options, device: str) -> None:
    """Refuse what this device cannot do, before anything is loaded.

    Raises:
        DeviceError: not a CPU, or a torch without oneDNN.
    """
    if options.linears == "auto":
        return
    import torch

    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise DeviceError(
            f"linears={options.linears!r} on {device}", "a CPU, and a torch with oneDNN", "Use linears='auto'"
        )


def evidence(options: Options, seen: Observations) -> Evidence:
    """oneDNN's products that the dispatcher saw in one call of the transformer, against the layers packed."""
    layers = seen.counts["packed linears"]
    if options.linears == "auto" or not layers:
        return Evidence((options.linears == "auto") == (layers == 0), f"{layers} layers packed")
    if not seen.counts["watched calls"]:
        return Evidence(None, "no call watched yet")
    ran = seen.counts[f"kernel {KERNEL}"]
    return Evidence(
        ran == layers, f"{ran} products by oneDNN in one call of the transformer with {layers} layers"
    )
