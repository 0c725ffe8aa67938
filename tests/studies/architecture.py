"""The sizes that decide what a model costs, and those of what it is given. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

HEAD = 64
"""Upstream's width of a head."""


class Sequence(NamedTuple):
    """Frames of one piece: of the transformer's sequence, of the clip that opens it, of what is generated."""

    frames: int
    reference: int
    generated: int


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The sizes of a DiT with its Vocos; names as in upstream's configurations."""

    dim: int
    depth: int
    heads: int
    ff_mult: float
    text_dim: int
    conv_layers: int
    mel: int
    vocos_dim: int
    vocos_inner: int
    vocos_layers: int
    n_fft: int

    @classmethod
    def of(cls, arch: Mapping[str, Any], vocoder: Mapping[str, Any]) -> Architecture:
        """From `model.arch` of an upstream configuration and the `config.yaml` of a Vocos."""
        backbone = vocoder["backbone"]["init_args"]
        return cls(
            dim=arch["dim"],
            depth=arch["depth"],
            heads=arch["heads"],
            ff_mult=arch.get("ff_mult", 4),
            text_dim=arch.get("text_dim") or backbone["input_channels"],
            conv_layers=arch.get("conv_layers", 0),
            mel=backbone["input_channels"],
            vocos_dim=backbone["dim"],
            vocos_inner=backbone["intermediate_dim"],
            vocos_layers=backbone["num_layers"],
            n_fft=vocoder["head"]["init_args"]["n_fft"],
        )

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * HEAD

    @property
    def wide(self) -> int:
        """Width inside the feed-forward."""
        return int(self.dim * self.ff_mult)

    @property
    def block_weights(self) -> int:
        """Weights of the linears of all blocks that see every frame."""
        return self.depth * (4 * self.dim * self.inner + 2 * self.dim * self.wide)
