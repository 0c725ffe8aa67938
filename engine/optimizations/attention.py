"""Which of torch's `scaled_dot_product_attention` kernels the transformer uses."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.errors import DeviceError
from engine.evidence import Evidence, Observations
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from engine.optimizations.guidance import Evaluate, Half
    from engine.sampler import Backbone

KERNEL = "kernel aten::_scaled_dot_product_"
"""How observations name what the dispatcher ran."""


def apply(backbone: Backbone, options: Options, observed: Observations) -> Backbone:
    """Hold torch to one kernel during each call of the transformer.

    Torch keeps this choice for the whole process. Calls that make one wait for each other; an engine with
    'auto' that works at the same time in another thread follows it.
    """
    if options.attention == "auto":
        return backbone

    @contextlib.contextmanager
    def begin(cond: Tensor, tokens: Tensor, times: Tensor, mask: Tensor | None) -> Iterator[Evaluate]:
        with backbone(cond, tokens, times, mask) as evaluate:

            def held(x: Tensor, evaluation: int, half: Half) -> Tensor:
                observed.add("held calls")
                with _only(options.attention):
                    return evaluate(x, evaluation, half)

            yield held

    return begin


@contextlib.contextmanager
def _only(name: str) -> Iterator[None]:
    """Nothing but the named kernel may serve attention; torch raises a RuntimeError where it cannot."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernel: Any = {
        "math": SDPBackend.MATH,
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }[name]
    with _turn(), sdpa_kernel(kernel):
        yield


@functools.cache
def _turn() -> threading.Lock:
    """The one lock for torch's one setting: two that change it at once would restore each other's."""
    return threading.Lock()


def check_device(options: Options, device: str) -> None:
    """Try the kernel on one small input in the transformer's number format, before anything is loaded.

    Raises:
        DeviceError: it does not serve this device or format.
    """
    if options.attention == "auto":
        return
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.precision]
    q = torch.zeros(1, 1, 8, 64, device=device, dtype=dtype)  # upstream's width of a head
    padded = options.buckets or options.batch > 1
    mask = torch.ones(1, 1, 8, 8, device=device, dtype=torch.bool) if padded else None
    try:
        with torch.inference_mode(), _only(options.attention):
            torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)
    except RuntimeError as error:
        raise DeviceError(
            f"attention={options.attention!r} with precision={options.precision!r} on {device}"
            + (" and the masks of buckets or batch" if padded else ""),
            f"a kernel that torch has there ({str(error).splitlines()[0][:100]})",
            "Use attention='auto', or 'flash' on a CPU and a half format on a GPU",
        ) from error


def evidence(options: Options, observed: Observations) -> Evidence:
    """The kernels that served attention in one call of the transformer, as the dispatcher saw them, and that
    every call was held to one.

    The kernel alone is no proof: it may be the one that torch would have chosen.
    """
    if options.attention == "auto":
        return Evidence(not observed.counts["held calls"], "torch chose")
    if not observed.counts["watched calls"]:
        return Evidence(None, "no call watched yet")
    seen = {name.removeprefix(KERNEL): n for name, n in observed.counts.items() if name.startswith(KERNEL)}
    wanted = f"{options.attention}_attention" if options.attention != "math" else "attention_math"
    held, calls = observed.counts["held calls"], observed.counts["calls"]
    return Evidence(
        0 < calls <= held and bool(seen) and all(name.startswith(wanted) for name in seen),
        f"{held} of {calls} calls held; in one of them "
        + (", ".join(f"{n} of {name}" for name, n in sorted(seen.items())) or "no kernel seen"),
    )
