"""The hot loop: time grids, guidance and the Euler solver of the flow. Pure functions over tensors.

The arithmetic is that of upstream's `CFM.sample` (https://arxiv.org/abs/2410.06885), operation by operation:
for the same noise the mel is bit-identical.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine import upstream
from engine.options import Options

if TYPE_CHECKING:
    from torch import Tensor

SWAY = -1.0
"""Sway coefficient: upstream's `infer` default; -1 spends most steps near the noise, where words are
decided."""


def time_grid(options: Options, device: Any) -> Tensor:
    """The times at which the flow is evaluated, and the end: [nfe + 1] float32 from 0 to 1."""
    import torch

    if options.schedule == "epss":
        grid: Tensor = upstream.epss_grid(options.nfe, device, torch.float32)
    else:
        grid = torch.linspace(0, 1, options.nfe + 1, device=device, dtype=torch.float32)
    if options.schedule == "uniform":
        return grid
    return grid + SWAY * (torch.cos(torch.pi / 2 * grid) - 1 + grid)


def follows(times: list[float], schedule: str) -> bool:
    """Whether evaluation times lie on the named schedule, judged from the times alone.

    Undoes the sway (with coefficient -1, t = 1 - cos(pi u / 2)) and looks at the spacing of what is left:
    even for `uniform` and `sway`, uneven multiples of 1/32 for `epss`.
    """
    if schedule == "uniform":
        return _even(times)
    unswayed = [math.acos(1.0 - min(max(t, 0.0), 1.0)) * 2.0 / math.pi for t in times]
    if schedule == "sway":
        return _even(unswayed)
    return not _even(unswayed) and all(abs(u * 32 - round(u * 32)) < 0.02 for u in unswayed)


def _even(values: list[float]) -> bool:
    """Whether `values` are the evenly spaced fractions 0, 1/n, 2/n ... of a grid that ends at 1."""
    return all(abs(value - index / len(values)) < 1e-3 for index, value in enumerate(values))


def velocity(
    transformer: Any, x: Tensor, t: Tensor, *, cond: Tensor, tokens: Tensor, cfg_strength: float
) -> Tensor:
    """The guided flow at time `t`: [1, n, d] in the transformer's own number format.

    With guidance the conditional and unconditional halves go through the transformer packed in one batch of
    two.
    """
    import torch

    if cfg_strength < 1e-5:  # upstream's own threshold
        plain: Tensor = transformer(
            x=x, cond=cond, text=tokens, time=t, mask=None, drop_audio_cond=False, drop_text=False, cache=True
        )
        return plain
    packed = transformer(
        x=x, cond=cond, text=tokens, time=t, mask=None, cfg_infer=True, cache=True
    )  # [2, n, d]
    conditional, unconditional = torch.chunk(packed, 2, dim=0)
    return conditional + (conditional - unconditional) * cfg_strength


def sample(
    transformer: Any,
    reference_mel: Tensor,
    tokens: Tensor,
    noise: Tensor,
    grid: Tensor,
    cfg_strength: float,
    on_step: Callable[[Tensor, Tensor], None],
) -> Tensor:
    """Carry `noise` along the flow to a mel whose first frames are the reference.

    Args:
        transformer: upstream's backbone.
        reference_mel: [1, r, d] float32, the conditioned reference clip.
        tokens: [1, nt] int64, reference text followed by the text to say.
        noise: [1, n, d] float32 with n > r.
        grid: [nfe + 1] times.
        cfg_strength: guidance strength; 0 evaluates the conditional half only.
        on_step: called after each evaluation with its time and the flow it gave.

    Returns:
        [1, n, d] float32.
    """
    import torch
    from torch.nn import functional

    reference_frames, frames = reference_mel.shape[1], noise.shape[1]
    dtype = transformer.proj_out.weight.dtype
    padded = functional.pad(reference_mel, (0, 0, 0, frames - reference_frames))  # [1, n, d]
    cond, x = padded.to(dtype), noise
    try:
        for t0, t1 in itertools.pairwise(grid):
            flow = velocity(transformer, x.to(dtype), t0, cond=cond, tokens=tokens, cfg_strength=cfg_strength)
            on_step(t0, flow)
            x = x + (t1 - t0) * flow.float()
    finally:
        transformer.clear_cache()  # the text embeddings of this request, kept per thread by upstream
    is_reference = torch.arange(frames, device=x.device)[None, :, None] < reference_frames
    return torch.where(is_reference, padded, x)


def noise_like(frames: int, channels: int, seed: int, device: Any) -> Tensor:
    """Unit Gaussian noise [1, frames, channels] from a generator of its own: other threads cannot disturb it.

    The stream equals that of `torch.manual_seed(seed)`, so upstream's `CFM.sample(seed=...)` draws the same.
    """
    import torch

    generator = torch.Generator(device=device).manual_seed(seed)
    return torch.randn(frames, channels, generator=generator, device=device)[None]
