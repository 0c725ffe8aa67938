"""Checkpoints of a training run: train.pt holds the weights, train.RANK.pt what each rank alone knows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch


def save(
    work: Path, rank: int, model: Any, average: Any, opts: Any, rng: random.Random, progress: Any
) -> None:
    """Write this rank's part (rank 0 also the weights), each file whole or not at all."""
    state = {"opts": [opt.state_dict() for opt in opts], "rng": (torch.get_rng_state(), rng.getstate())}
    parts = {f"train.{rank}": state | {"progress": vars(progress)}}
    if rank == 0:
        parts["train"] = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "progress": vars(progress),
        }
    for name, content in parts.items():
        torch.save(content, work / f"{name}.new")
        (work / f"{name}.new").replace(work / f"{name}.pt")


def resume(work: Path, rank: int, model: Any, average: Any, opts: Any, rng: random.Random) -> dict[str, Any]:
    """Fill this rank's state (rank 0 also the shared weights); returns the progress, empty if fresh."""
    mine = work / f"train.{rank}.pt"
    if not mine.is_file():
        return {}
    if rank == 0:
        weights = torch.load(work / "train.pt", weights_only=False)
        model.load_state_dict(weights["model"])
        average.load_state_dict(weights["average"])
    state = torch.load(mine, weights_only=False)
    for opt, saved in zip(opts, state["opts"], strict=True):
        opt.load_state_dict(saved)
    torch.set_rng_state(state["rng"][0])
    rng.setstate(state["rng"][1])
    return dict(state["progress"])


def load_shipped(model: torch.nn.Module, path: Path) -> None:
    """Start from an exported model.safetensors instead of from noise."""
    from safetensors.torch import load_file

    prefix = "ema_model.transformer."
    model.load_state_dict(
        {name.removeprefix(prefix): value.float() for name, value in load_file(path).items()}
    )
