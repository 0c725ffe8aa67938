"""Muon in fp32: momentum whose matrix updates are orthogonalised (Jordan et al., 2024).

torch.optim.Muon orthogonalises in bfloat16, which CPUs without AMX emulate slowly, and one matrix at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch


def orthogonalise(batch: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz towards the nearest semi-orthogonal matrices; `batch` is [k, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = batch.shape[1] > batch.shape[2]
    x = batch.mT if tall else batch
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: torch.Tensor = x.mT if tall else x
    return out


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised per matrix; matrices of one shape are handled as one batch."""

    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float = 0.02, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            shapes = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    shapes[param.shape].append(param)
            for shape, params in shapes.items():
                updates = orthogonalise(torch.stack([self._momentum(p, group["momentum"]) for p in params]))
                scale = -group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for param, update in zip(params, updates, strict=True):
                    param.add_(update, alpha=scale)

    def _momentum(self, param: torch.nn.Parameter, beta: float) -> torch.Tensor:
        state = self.state[param]
        if not state:
            state["buffer"] = torch.zeros_like(param)
        assert param.grad is not None, "only parameters with a gradient are updated"
        state["buffer"].lerp_(param.grad, 1 - beta)
        return param.grad.lerp(state["buffer"], beta)
