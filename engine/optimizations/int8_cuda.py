"""The 8-bit product of `int8` on CUDA: `torch._int_mm`, whose sums are exact in 32 bits.

Weights are scaled by output channel at load, activations by frame while running, as on a CPU
(`engine.optimizations.int8`); no figure is fixed beforehand, so nothing has to be calibrated. The product
wants more than 16 frames and widths that 8 divides: every clip and every DiT has both.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from engine.errors import DeviceError

if TYPE_CHECKING:
    from torch import Tensor

KERNEL = "aten::_int_mm"
"""What the dispatcher calls the product."""

TOP = 127
"""Weights and activations are whole numbers from -TOP to TOP."""


def quantized(linear: Any) -> Any:
    """A module that computes `linear` in 8 bits on the device where its weights are."""
    import torch

    weight = linear.weight.detach().float()  # [out, in]
    scales = weight.abs().amax(dim=1).div(TOP).clamp_min(torch.finfo(torch.float32).tiny)  # [out]
    return _module()((weight / scales[:, None]).round().to(torch.int8), scales, linear.bias)


@functools.cache
def _module() -> Any:
    """The module's class; made on first use, because importing torch is left to those who load a model."""
    import torch

    operation = torch.library.custom_op(
        "ishowtts::int8_cuda_product",
        product,
        mutates_args=(),
        schema="(Tensor codes, Tensor weight) -> Tensor",
    )
    operation.register_fake(
        lambda codes, weight: codes.new_empty((codes.shape[0], weight.shape[0]), dtype=torch.int32)
    )

    class CudaInt8Linear(torch.nn.Module):
        """[..., in] -> [..., out] in the input's number format."""

        codes: Tensor
        scales: Tensor

        def __init__(self, codes: Tensor, scales: Tensor, bias: Tensor | None) -> None:
            super().__init__()
            self.register_buffer("codes", codes, persistent=False)
            self.register_buffer("scales", scales, persistent=False)
            self.bias = bias

        def forward(self, x: Tensor) -> Tensor:
            # Opaque to a compiler: one that took a kernel of its own could not be seen to do so.
            multiply = torch.ops.ishowtts.int8_cuda_product if torch.compiler.is_compiling() else product
            frames = x.reshape(-1, x.shape[-1])  # [f, in]
            step = frames.abs().amax(-1, keepdim=True).float().div(TOP)
            step = step.clamp_min(torch.finfo(torch.float32).tiny)  # [f, 1]
            sums = multiply((frames / step).round().to(torch.int8), self.codes)  # [f, out]
            out = sums.float() * step * self.scales
            return (out if self.bias is None else out + self.bias).to(x.dtype).view(*x.shape[:-1], -1)

    return CudaInt8Linear


def product(codes: Tensor, weight: Tensor) -> Tensor:
    """Codes [f, in] times a weight [out, in], both int8: [f, out] int32, exact."""
    import torch

    sums: Tensor = torch._int_mm(codes, weight.t())
    return sums


def check(device: str) -> None:
    """Try one product of the largest numbers.

    Raises:
        DeviceError: this torch or this card has none, or its sums are not exact.
    """
    import torch

    try:
        codes = torch.full((32, 1024), TOP, dtype=torch.int8, device=device)
        weight = torch.full((64, 1024), -TOP, dtype=torch.int8, device=device)
        exact = bool((product(codes, weight) == -1024 * TOP * TOP).all())
        problem = "its sums are not exact"
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError) as error:
        exact, problem = False, str(error).splitlines()[0][:100]
    if not exact:
        raise DeviceError(
            f"int8 on {device}, whose 8-bit product fails ({problem})",
            "torch._int_mm at work there",
            "Use int8='off' and precision='fp16', or device='cpu'",
        )
