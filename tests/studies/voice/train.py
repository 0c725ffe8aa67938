"""Trains the DiT: windows of one voice, a random prefix as reference, flow matching on the rest.

The ranks are processes that share the weights; each adds its gradients in shared memory and updates a part of
the parameters. With one thread each, nothing waits for a busy core more than twice a step.
"""

from __future__ import annotations

import logging
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn

from engine import upstream
from tests.studies.voice import checkpoints
from tests.studies.voice.muon import Muon
from tests.studies.voice.windows import LENGTHS, Windows, reference_mask, times, vocabulary

log = logging.getLogger(__name__)
ARCH: dict[str, Any] = {
    "dim": 128,
    "depth": 4,
    "heads": 2,
    "ff_mult": 2,
    "text_dim": 256,
    "text_mask_padding": True,
    "qk_norm": None,
    "conv_layers": 6,
    "pe_attn_head": None,
    "attn_backend": "torch",
    "attn_mask_enabled": False,
    "checkpoint_activations": False,
}
DROPS = (0.75, 0.1, 0.15)  # nothing dropped, the audio condition, audio and text (for guidance)


@dataclass(frozen=True)
class Settings:
    """What may be changed without touching the code."""

    minutes: float = 75.0
    batch_frames: int = 3200
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    warmup_steps: int = 100
    ema: float = 0.998
    seed: int = 3
    workers: int = 4
    threads: int = 1
    save_steps: int = 100
    device: str = "cpu"


@dataclass
class Progress:
    """What a resumed run needs besides weights and optimisers."""

    step: int = 0
    elapsed: float = 0.0  # seconds of all runs together
    losses: list[float] = field(default_factory=list)  # of the latest steps


@dataclass(frozen=True)
class Team:
    """What the ranks share.

    Weights, their average, one row of gradients each, rank 0's clock, a meeting point.
    """

    weights: torch.Tensor
    average: torch.Tensor
    grads: torch.Tensor
    clock: torch.Tensor
    meet: Any


def train(work: Path, settings: Settings = Settings(), init: Path | None = None) -> Path:
    """Train until the budget is spent; resumes from `work`/train.pt; returns its path.

    `init`: shipped weights.
    """
    size = len(vocabulary())
    torch.manual_seed(settings.seed)
    model = build_model(size)
    if init is not None:
        checkpoints.load_shipped(model, init)
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach().to(settings.device)
    context = torch.multiprocessing.get_context("spawn")
    grads = torch.zeros(settings.workers, len(flat), device=settings.device)
    clock = torch.zeros(1, dtype=torch.float64)
    team = Team(flat.clone(), flat.clone(), grads, clock, context.Barrier(settings.workers))
    if settings.workers == 1:
        worker(0, work, settings, team)
    else:
        for shared in (team.weights, team.average, team.grads, team.clock):
            shared.share_memory_()  # type: ignore[no-untyped-call]
        spawn(worker, (work, settings, team), nprocs=settings.workers)  # type: ignore[no-untyped-call]
    return work / "train.pt"


def build_model(size: int, arch: dict[str, Any] = ARCH) -> torch.nn.Module:
    """Upstream's DiT for a vocabulary of `size` tokens; no dropout, since no sentence is seen often."""
    model: torch.nn.Module = upstream.module("f5_tts.model").DiT(
        **arch, dropout=0.0, text_num_embeds=size, mel_dim=100
    )
    return model


def share(model: torch.nn.Module, flat: torch.Tensor) -> torch.nn.Module:
    """The model with its parameters living in the vector `flat`."""
    start = 0
    model.to(flat.device)
    for param in model.parameters():
        param.data = flat[start : start + param.numel()].view_as(param)
        start += param.numel()
    return model


def worker(rank: int, work: Path, settings: Settings, team: Team) -> None:
    """One rank: its share of every batch and of every update."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(settings.threads)
    chars = vocabulary()
    windows = Windows(work / "data", chars)
    model, average = (share(build_model(len(chars)), flat) for flat in (team.weights, team.average))
    torch.manual_seed(settings.seed + rank)
    rng = random.Random(settings.seed + rank)
    opts = optimisers(model, settings, rank)
    progress = Progress(**checkpoints.resume(work, rank, model, average, opts, rng))
    team.meet.wait()
    began = time.monotonic() - progress.elapsed
    while progress.elapsed < settings.minutes * 60:
        loss = share_of_gradient(model, windows, rng, progress, settings, team.grads[rank])
        if rank == 0:
            team.clock.fill_(time.monotonic() - began)
        team.meet.wait()  # all gradients are there
        progress.elapsed = float(team.clock)
        update(list(model.parameters()), list(average.parameters()), opts, team.grads, progress, settings)
        team.meet.wait()  # all weights are new
        progress.step += 1
        progress.losses = [*progress.losses[-49:], loss]
        if rank == 0 and progress.step % 50 == 0:
            report(progress, average, windows)
        if progress.step % settings.save_steps == 0:
            checkpoints.save(work, rank, model, average, opts, rng, progress)
    checkpoints.save(work, rank, model, average, opts, rng, progress)


def optimisers(model: torch.nn.Module, settings: Settings, rank: int) -> list[torch.optim.Optimizer]:
    """This rank's share.

    Muon for the hidden matrices, AdamW for embeddings, convolutions, modulation, in and out.
    """
    hidden: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, param in model.named_parameters():
        matrix = param.ndim == 2 and ("attn.to_" in name or ".ff." in name or "pwconv" in name)
        (hidden if matrix else rest).append(param)
    rest = sorted(rest, key=lambda param: -param.numel())[rank :: settings.workers]
    hidden = sorted(hidden, key=lambda param: tuple(param.shape))[rank :: settings.workers]
    adam = torch.optim.AdamW(rest, lr=settings.adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
    return [Muon(hidden, lr=settings.muon_lr), adam]


def learning_rate(progress: Progress, settings: Settings) -> float:
    """Factor on the rates.

    Short warm-up by steps, flat, then linear to zero over the last three fifths of the budget.
    """
    fraction = min(progress.elapsed / (settings.minutes * 60), 1.0)
    return min(1.0, (progress.step + 1) / settings.warmup_steps) * min(1.0, 1.7 * (1.0 - fraction) + 0.005)


def step_loss(
    model: Any, mel: torch.Tensor, text: torch.Tensor, mask: torch.Tensor, at: torch.Tensor, drop: int = 0
) -> torch.Tensor:
    """Flow-matching loss on the masked frames at times `at` [b]; `drop` 1: no audio condition, 2: no text."""
    noise = torch.randn_like(mel)
    mixed = noise + at[:, None, None] * (mel - noise)
    cond = mel.masked_fill(mask[..., None], 0.0)
    flow = model(x=mixed, cond=cond, text=text, time=at, drop_audio_cond=drop > 0, drop_text=drop > 1)
    return F.mse_loss(flow, mel - noise, reduction="none")[mask].mean()


def share_of_gradient(
    model: Any,
    windows: Windows,
    rng: random.Random,
    progress: Progress,
    settings: Settings,
    out: torch.Tensor,
) -> float:
    """Gradient of this rank's part of the batch into `out`; returns the loss."""
    common = random.Random(settings.seed * 1_000_003 + progress.step)  # the same on every rank
    length = common.choices([n for n, _ in LENGTHS], [p for _, p in LENGTHS])[0]
    drop = common.choices(range(3), DROPS)[0]
    count = max(settings.batch_frames // settings.workers // length, 1)
    batch = (*windows.draw(rng, count, length), reference_mask(rng, count, length), times(count))
    mel, text, mask, at = (part.to(settings.device) for part in batch)
    loss = step_loss(model, mel, text, mask, at, drop)
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [torch.zeros_like(param) if param.grad is None else param.grad for param in model.parameters()]
    torch.cat([grad.reshape(-1) for grad in grads], out=out)
    return float(loss.detach())


@torch.no_grad()
def update(
    params: Any, averages: Any, opts: Any, grads: torch.Tensor, progress: Progress, settings: Settings
) -> None:
    """Step this rank's parameters on the mean gradient and move their averages."""
    factor = learning_rate(progress, settings)
    decay = min(settings.ema, (1 + progress.step) / (10 + progress.step))
    mine = {id(param) for opt in opts for group in opt.param_groups for param in group["params"]}
    start = 0
    for param in params:
        param.grad = (
            grads[:, start : start + param.numel()].mean(0).view_as(param) if id(param) in mine else None
        )
        start += param.numel()
    for opt, rate in zip(opts, (settings.muon_lr, settings.adam_lr), strict=True):
        opt.param_groups[0]["lr"] = rate * factor
        opt.step()
    for param, average in zip(params, averages, strict=True):
        if id(param) in mine:
            average.lerp_(param, 1 - decay)
        param.grad = None


@torch.no_grad()
def text_use(model: Any, windows: Windows, device: str = "cpu", seed: int = 5) -> tuple[float, float]:
    """Loss near t = 0 with the right text and with another window's; equal means the text is ignored."""
    mel, text = (part.to(device) for part in windows.draw(random.Random(seed), 8, 384))
    mask = torch.ones(8, 384, dtype=torch.bool, device=device)
    mask[:, :192] = False
    at = torch.full((8,), 0.02, device=device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return float(step_loss(model, mel, text, mask, at)), float(
            step_loss(model, mel, text.roll(1, 0), mask, at)
        )


def report(progress: Progress, average: Any, windows: Windows) -> None:
    """One log line: step, minutes, mean loss, and now and then whether the text is used."""
    mean = sum(progress.losses) / len(progress.losses)
    if not math.isfinite(mean):
        raise FloatingPointError(f"the loss is {mean} at step {progress.step}; lower the learning rates")
    line = f"step {progress.step} min {progress.elapsed / 60:.1f} loss {mean:.4f}"
    if progress.step % 200 == 0:
        right, wrong = text_use(average, windows, next(average.parameters()).device.type)
        line += f" text right {right:.3f} wrong {wrong:.3f}"
    log.info(line)
