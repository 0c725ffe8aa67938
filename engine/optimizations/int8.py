"""Linears of the transformer's blocks in 8 bits, weights and activations (https://arxiv.org/abs/2208.07339).

Weights are scaled by output channel at load, activations by frame while running: a frame's result depends
neither on what shares its batch nor on how far it is padded. Products are oneDNN's `qlinear_pointwise`, which
takes plain integer tensors; embeddings, modulations and the output layer keep their number format.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from engine import fused, native
from engine.errors import DeviceError, OptionsError
from engine.evidence import Evidence, Observations, watching
from engine.optimizations import Parts
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

KERNEL = "onednn::qlinear_pointwise"
"""What the dispatcher calls the product."""

LAYERS = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.ff.0.0", "ff.ff.2")
"""The linears of one block that see every frame."""

ZERO = 128
"""Stands for 0 among activations: oneDNN is fastest with unsigned ones."""


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Replace the linears of the transformer's blocks, in place, and have one call's kernels watched.

    Raises:
        OptionsError: the backbone has no such blocks (E2-TTS).
        DeviceError: this CPU's oneDNN has no exact 8-bit product.
    """
    if options.int8 == "off":
        return parts
    transformer = parts.model.transformer
    if options.int8 == "fused":
        blocks = fused.check(transformer, "int8='fused'")
        for index, block in enumerate(blocks):
            transformer.transformer_blocks[index] = fused.block(block, first=index == 0)
        seen.add("fused blocks", len(blocks))
        return dataclasses.replace(parts, around=watching(parts.around, seen))
    linears = layers(transformer)
    top = largest_weight()
    for name, linear in linears.items():
        parent, _, child = name.rpartition(".")
        setattr(transformer.get_submodule(parent), child, quantized(linear, top))
    seen.add("int8 layers", len(linears))
    return dataclasses.replace(parts, around=watching(parts.around, seen))


def layers(transformer: Any) -> dict[str, Any]:
    """The linears that `apply` replaces, by their names in upstream's `DiT`.

    Raises:
        OptionsError: the backbone has none (E2-TTS).
    """
    blocks = getattr(transformer, "transformer_blocks", None)
    if blocks is None:
        raise OptionsError(
            f"int8 with the backbone {type(transformer).__name__}",
            "a DiT",
            "Load an F5-TTS checkpoint, or int8='off'",
        )
    names = [f"transformer_blocks.{index}.{name}" for index in range(len(blocks)) for name in LAYERS]
    return {name: transformer.get_submodule(name) for name in names}


def quantized(linear: Any, top: int) -> Any:
    """A module that computes `linear` in 8 bits, its weights rounded to whole numbers from -top to top."""
    import torch

    weight = linear.weight.detach().float()  # [out, in]
    scales = weight.abs().amax(dim=1).div(top).clamp_min(torch.finfo(torch.float32).tiny)  # [out]
    rounded = (weight / scales[:, None]).round().to(torch.int8)
    return _module()(rounded, scales, linear.bias)


@functools.cache
def _module() -> Any:
    """The module's class; made on first use, because importing torch is left to those who load a model."""
    import torch

    _register()

    class Int8Linear(torch.nn.Module):
        """[..., in] -> [..., out] in the input's number format."""

        packed: Tensor
        scales: Tensor
        zeros: Tensor

        def __init__(self, weight: Tensor, scales: Tensor, bias: Tensor | None) -> None:
            super().__init__()
            self.register_buffer("packed", torch.ops.onednn.qlinear_prepack(weight, None), persistent=False)
            self.register_buffer("scales", scales, persistent=False)
            self.register_buffer("zeros", torch.zeros_like(scales, dtype=torch.int32), persistent=False)
            self.bias = bias

        def forward(self, x: Tensor) -> Tensor:
            product = torch.ops.ishowtts.int8_product if torch.compiler.is_compiling() else _product
            largest = torch.maximum(x.amax(-1, keepdim=True), -x.amin(-1, keepdim=True)).float()
            step = largest.div(127).clamp_min(torch.finfo(torch.float32).tiny)  # [..., 1]
            # The flip of the top bit adds 128 and makes it unsigned.
            codes = (x / step).round().to(torch.int8).bitwise_xor(-ZERO).view(torch.uint8)
            out = product(codes, self.packed, self.scales, self.zeros).mul_(step)
            return (out if self.bias is None else out.add_(self.bias)).to(x.dtype)

    return Int8Linear


def _product(codes: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Codes [..., in] around `ZERO` times packed weights: [..., out] float32, for activations of step 1."""
    import torch

    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        codes, 1.0, ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return out


def _register() -> None:
    """Make the product known to torch as one opaque operation, for compiled graphs.

    Inductor takes oneDNN's own only with weights that are constants of the graph, and here one graph serves
    all blocks.
    """
    import torch

    def shape(codes: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
        return codes.new_empty((*codes.shape[:-1], scales.shape[0]), dtype=torch.float32)

    operation = torch.library.custom_op(
        "ishowtts::int8_product",
        _product,
        mutates_args=(),
        schema="(Tensor codes, Tensor packed, Tensor scales, Tensor zeros) -> Tensor",
    )
    operation.register_fake(shape)


def largest_weight() -> int:
    """127 where this CPU adds 8-bit products exactly, 63 where 16-bit intermediate sums would overflow.

    Found by trying: x86 without VNNI adds two products of 255 * 127 in 16 bits, which saturates in silence.

    Raises:
        DeviceError: neither gives the exact result, or oneDNN has no such product here.
    """
    import torch

    inputs, outputs = 1024, 32
    codes = torch.full((64, inputs), 255, dtype=torch.uint8)
    for top in (127, 63):
        weight = torch.full((outputs, inputs), top, dtype=torch.int8)
        scales, zeros = torch.ones(outputs), torch.zeros(outputs, dtype=torch.int32)
        try:
            packed = torch.ops.onednn.qlinear_prepack(weight, None)
            out = _product(codes, packed, scales, zeros)
        except (AttributeError, RuntimeError, NotImplementedError) as error:
            raise _unsupported(str(error).splitlines()[0][:100]) from error
        if bool((out == inputs * top * (255 - ZERO)).all()):
            return top
    raise _unsupported("its sums are not exact")


def _unsupported(what: str) -> DeviceError:
    return DeviceError(
        f"int8 on a CPU without oneDNN's 8-bit product ({what})",
        "an x86 CPU with AVX2 or newer, and a torch with oneDNN",
        "Use int8='off'",
    )


def check_device(options: Options, device: str) -> None:
    """Refuse what this device cannot do, before anything is loaded.

    Raises:
        DeviceError: the product runs on CPUs only.
    """
    if options.int8 == "fused" and device == "cpu":
        native.check()
    if options.int8 != "off" and device != "cpu":
        raise DeviceError(
            f"int8={options.int8!r} on {device}",
            "a CPU: its 8-bit product is oneDNN's",
            "Use precision='fp16' on a GPU, or device='cpu'",
        )


def evidence(options: Options, seen: Observations) -> Evidence:
    """8-bit products that the dispatcher saw in one call of the transformer, against the layers replaced."""
    layers, blocks = seen.counts["int8 layers"], seen.counts["fused blocks"]
    if options.int8 == "fused" or blocks:
        return _evidence_of_fused(options, seen, blocks)
    if options.int8 == "off" or not layers:
        return Evidence((options.int8 == "off") == (layers == 0), f"{layers} layers replaced")
    if not seen.counts["watched calls"]:
        return Evidence(None, "no call watched yet")
    ran = seen.counts[f"kernel {KERNEL}"]
    return Evidence(
        ran == layers, f"{ran} 8-bit products in one call of the transformer with {layers} layers"
    )


def _evidence_of_fused(options: Options, seen: Observations, blocks: int) -> Evidence:
    """Each of the three operations ran once for every block in one call of the transformer."""
    if options.int8 != "fused" or not blocks:
        return Evidence(False, f"{blocks} blocks fused")
    if not seen.counts["watched calls"]:
        return Evidence(None, "no call watched yet")
    names = ("project", "merge", "feed")
    ran = [seen.counts[f"kernel {native.NAMESPACE}::{name}"] for name in names]
    shown = ", ".join(f"{count} of {name}" for name, count in zip(names, ran, strict=True))
    return Evidence(ran == [blocks] * 3, f"{shown} in one call of the transformer with {blocks} blocks")
