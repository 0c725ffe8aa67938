"""Trains a small Vocos: log mel in, 24 kHz samples out, spectral losses only."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from engine import upstream
from tests.studies.voice.muon import Muon
from tests.studies.voice.sentences import VOICES

log = logging.getLogger(__name__)
HOP = 256
FRAMES = 48  # window of one example
BATCH = 12
RATES = (0.02, 2e-3)  # of Muon and of AdamW
RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))  # FFT size, hop
CONFIG: dict[str, Any] = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
        "init_args": {
            "sample_rate": 24000,
            "n_fft": 1024,
            "hop_length": HOP,
            "n_mels": 100,
            "padding": "center",
        },
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {"input_channels": 100, "dim": 256, "intermediate_dim": 320, "num_layers": 5},
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 256, "n_fft": 1024, "hop_length": HOP, "padding": "center"},
    },
}


def build_vocos() -> Any:
    """Upstream's Vocos of CONFIG."""
    vocos = upstream.module("vocos.pretrained")
    parts = (vocos.instantiate_class((), CONFIG[part]) for part in ("feature_extractor", "backbone", "head"))
    return vocos.Vocos(*parts)


def windows(folder: Path, rng: random.Random) -> Any:
    """Endless batches of samples float32 [BATCH, (FRAMES - 1) * HOP] from random places of the streams."""
    streams = [np.load(folder / f"{voice}.audio.npy", mmap_mode="r") for voice in VOICES]
    size = (FRAMES - 1) * HOP
    while True:
        picked = []
        for _ in range(BATCH):
            stream = rng.choice(streams)
            start = rng.randrange(len(stream) - size)
            picked.append(stream[start : start + size].astype(np.float32) / 32767)
        yield torch.from_numpy(np.stack(picked))


def spectral_loss(made: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Log-magnitude L1 plus spectral convergence over RESOLUTIONS (Yamamoto et al., arXiv:1910.11480)."""
    total = made.new_zeros(())
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size, device=made.device)
        a, b = (
            torch.stft(x, size, hop, window=window, return_complex=True).abs().clamp(min=1e-5)
            for x in (made, real)
        )
        total = (
            total + F.l1_loss(a.clamp(min=1e-3).log(), b.clamp(min=1e-3).log()) + (a - b).norm() / b.norm()
        )
    return total / len(RESOLUTIONS)


def train_vocoder(work: Path, minutes: float, device: str = "cpu", seed: int = 3) -> Path:
    """Train for `minutes`, resuming from `work`/vocos.pt; returns its path. Its "vocos" is the state dict."""
    torch.manual_seed(seed)
    vocos = build_vocos().to(device)
    opts = optimisers(vocos)
    path = work / "vocos.pt"
    elapsed, step = resume(path, vocos, opts)
    began, losses = time.monotonic() - elapsed, deque[float](maxlen=100)
    for real in windows(work / "data", random.Random(seed + step)):
        set_rates(opts, step, elapsed / (minutes * 60))
        losses.append(update(vocos, opts, real.to(device)))
        elapsed, step = time.monotonic() - began, step + 1
        done = elapsed >= minutes * 60
        if step % 100 == 0 or done:
            log.info("vocoder step %d min %.1f loss %.4f", step, elapsed / 60, sum(losses) / len(losses))
            state = {"vocos": vocos.state_dict(), "opts": [opt.state_dict() for opt in opts]}
            torch.save(state | {"elapsed": elapsed, "step": step}, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        if done:
            break
    return path


def optimisers(vocos: Any) -> list[torch.optim.Optimizer]:
    """Muon for the point-wise matrices, AdamW for the rest."""
    named = list(vocos.named_parameters())
    hidden = [param for name, param in named if "pwconv" in name and param.ndim == 2]
    rest = [param for name, param in named if not ("pwconv" in name and param.ndim == 2)]
    return [
        Muon(hidden, lr=RATES[0]),
        torch.optim.AdamW(rest, lr=RATES[1], betas=(0.8, 0.95), weight_decay=0.0),
    ]


def set_rates(opts: list[torch.optim.Optimizer], step: int, fraction: float) -> None:
    """Short warm-up, flat, then linear to almost zero over the second half of the budget."""
    factor = min(1.0, (step + 1) / 50) * min(1.0, 2.0 * max(1.0 - fraction, 0.0) + 0.01)
    for opt, rate in zip(opts, RATES, strict=True):
        opt.param_groups[0]["lr"] = rate * factor


def resume(path: Path, vocos: Any, opts: list[torch.optim.Optimizer]) -> tuple[float, int]:
    """Fill weights and optimisers from a checkpoint, where there is one; returns seconds and steps so far."""
    if not path.is_file():
        return 0.0, 0
    state = torch.load(path, weights_only=False)
    vocos.load_state_dict(state["vocos"])
    for opt, saved in zip(opts, state["opts"], strict=True):
        opt.load_state_dict(saved)
    return float(state["elapsed"]), int(state["step"])


def update(vocos: Any, opts: list[torch.optim.Optimizer], real: torch.Tensor) -> float:
    """One step on one batch of samples; returns the loss."""
    with torch.no_grad():
        mel = vocos.feature_extractor.mel_spec(real).clamp(min=1e-5).log()  # [b, 100, n]
    made = vocos.head(vocos.backbone(mel))
    again = vocos.feature_extractor.mel_spec(made).clamp(min=1e-5).log()
    loss = spectral_loss(made, real) + F.l1_loss(again, mel)
    loss.backward()  # type: ignore[no-untyped-call]
    for opt in opts:
        opt.step()
        opt.zero_grad(set_to_none=True)
    return float(loss.detach())
