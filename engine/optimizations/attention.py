"""Which of torch's `scaled_dot_product_attention` kernels the transformer uses."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator
from typing import Any

from engine import fused, native
from engine.errors import DeviceError
from engine.evidence import Evidence, Observations, watching
from engine.optimizations import Parts
from engine.options import Options

KERNEL = "kernel aten::_scaled_dot_product_"
"""How observations name what the dispatcher ran."""


def apply(parts: Parts, options: Options, seen: Observations) -> Parts:
    """Hold torch to one kernel during each call of the transformer.

    Torch keeps this choice for the whole process. Calls that make one wait for each other; an engine with
    'auto' that works at the same time in another thread follows it.
    """
    if options.attention == "auto":
        return parts
    if options.attention == "fused":
        blocks = fused.check_heads(parts.model.transformer, "attention='fused'")
        for block in blocks:
            block.attn.processor.kernel = fused.attention
        seen.add("attention blocks", len(blocks))
        return dataclasses.replace(parts, around=watching(parts.around, seen))
    held = functools.partial(hold, options.attention, seen)
    return dataclasses.replace(parts, around=(*watching(parts.around, seen), held))


@contextlib.contextmanager
def hold(name: str, seen: Observations) -> Iterator[None]:
    """Nothing but the named kernel serves attention in here, and that is counted."""
    seen.add("held calls")
    with _only(name):
        yield


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
    if options.attention == "fused":
        if device != "cpu":
            raise DeviceError(f"attention='fused' on {device}", "a CPU", "Use attention='auto'")
        native.check()
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


def evidence(options: Options, seen: Observations) -> Evidence:
    """The kernels that served attention in one call of the transformer, as the dispatcher saw them, and that
    every call was held to one.

    The kernel alone is no proof: it may be the one that torch would have chosen.
    """
    held, calls = seen.counts["held calls"], seen.ran("calls", "transformer")
    blocks = seen.counts["attention blocks"]
    if options.attention == "fused" or blocks:
        return _evidence_of_fused(options, seen, blocks)
    if options.attention == "auto":
        return Evidence(not held, "torch chose")
    if calls and not held:
        return Evidence(False, f"none of {calls} calls held")
    if not seen.counts["watched calls"]:
        return Evidence(None, "no call watched yet")
    kernels = {name.removeprefix(KERNEL): n for name, n in seen.counts.items() if name.startswith(KERNEL)}
    wanted = f"{options.attention}_attention" if options.attention != "math" else "attention_math"
    return Evidence(
        0 < calls <= held and bool(kernels) and all(name.startswith(wanted) for name in kernels),
        f"{held} of {calls} calls held; in one of them "
        + (", ".join(f"{n} of {name}" for name, n in sorted(kernels.items())) or "no kernel seen"),
    )


def _evidence_of_fused(options: Options, seen: Observations, blocks: int) -> Evidence:
    """The kernel ran once for every block in one call of the transformer."""
    if options.attention != "fused" or not blocks:
        return Evidence(False, f"{blocks} blocks with fused attention")
    if not seen.counts["watched calls"]:
        return Evidence(None, "no call watched yet")
    ran = seen.counts[f"kernel {native.NAMESPACE}::attention"]
    return Evidence(
        ran == blocks, f"{ran} fused attentions in a call of the transformer with {blocks} blocks"
    )
