"""Mel -> wave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from engine.audio import Samples
from engine.evidence import Observations

if TYPE_CHECKING:
    from torch import Tensor


class Vocoder(Protocol):
    """Turns a log-mel into a waveform."""

    def decode(self, mel: Tensor) -> Tensor:
        """[b, 100, n] float32 -> [b, samples] float32 at 24 kHz."""
        ...


class VocosVocoder:
    """Upstream's Vocos (https://arxiv.org/abs/2306.00814): the two steps of its own `decode`."""

    def __init__(self, vocos: Any, seen: Observations) -> None:
        self._vocos = vocos
        self._seen = seen

    def decode(self, mel: Tensor) -> Tensor:
        """[b, 100, n] float32 -> [b, samples] float32 at 24 kHz; the head always works in fp32."""
        features = self._vocos.backbone(mel)  # [b, n, dim]
        self._seen.add("decodes")
        self._seen.add(f"vocoder {dtype_name(features)}")
        wave: Tensor = self._vocos.head(features.float())
        return wave


def at_once(mel: Tensor, decode: Callable[[Tensor], Tensor]) -> Callable[[], tuple[Samples, Samples]]:
    """Decode `mel` [b, n, d], and wait: what is returned gives the wave [b, samples] and the mel."""
    wave, kept = decode(mel).cpu().numpy(), mel.cpu().numpy()
    return lambda: (wave, kept)


def dtype_name(tensor: Tensor) -> str:
    """`fp32`, `bf16` or `fp16`, as the options spell it."""
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(
        str(tensor.dtype).split(".")[1], str(tensor.dtype)
    )
