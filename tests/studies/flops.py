"""FLOPs of one `synthesize`: counted by torch where it can see them, else by the formula of `costs`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.errors import UsageError
from engine.evidence import Clock
from engine.optimizations import buckets
from engine.requests import Request
from tests.studies.architecture import Architecture, Sequence
from tests.studies.costs import work

if TYPE_CHECKING:
    from engine.checkpoint import Checkpoint
    from engine.reference import Voice
    from engine.synthesis import Engine

COUNTER, FORMULA = "torch.utils.flop_counter", "tests.studies.costs"
"""Who counted."""


def flops(engine: Engine, text: str) -> tuple[float, str]:
    """FLOPs of saying `text` and who counted them: products and convolutions, two for each multiplication.

    Compiled graphs and ONNX Runtime hide their products from the counter, so there the formula answers.

    Raises:
        EngineError: as `synthesize`.
    """
    if engine.options.compile == "off" and engine.options.vocoder_backend == "torch":
        return count_flops(lambda: engine.synthesize(text)), COUNTER
    pieces = sequences(engine, text)
    return work(architecture(engine.checkpoint), pieces, engine.options).flops, FORMULA


def sequences(engine: Engine, text: str, voice: Voice | None = None) -> list[Sequence]:
    """What each piece of `text` sends through the transformer and the vocoder; nothing is sampled.

    Raises:
        EngineError: as `synthesize`, for what the request is to blame for.
    """
    pieces = engine._plan(Request(text, voice), Clock(engine.device)).pieces
    padded = buckets.length if engine.options.buckets else int
    return [
        Sequence(padded(one.frames), one.reference.frames, one.frames - one.reference.frames)
        for one in pieces
    ]


def architecture(checkpoint: Checkpoint) -> Architecture:
    """The sizes that decide what a checkpoint costs.

    Raises:
        UsageError: its backbone is not a DiT.
    """
    import yaml

    if checkpoint.backbone != "DiT":
        raise UsageError(
            f"checkpoint {checkpoint.name} with the backbone {checkpoint.backbone}",
            "an F5-TTS checkpoint: the formulas are those of its DiT",
            "Load another checkpoint",
        )
    vocoder = yaml.safe_load((checkpoint.vocoder / "config.yaml").read_text(encoding="utf8"))
    return Architecture.of(checkpoint.arch, vocoder)


def count_flops(speak: Callable[[], Any]) -> float:
    """FLOPs of one call, with what torch's counter leaves out on a CPU: attention and 8-bit products."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def product(codes: Any, *_: Any, out_shape: Any, **__: Any) -> int:
        return int(2 * math.prod(out_shape) * codes[-1])

    def attended(queries: Any, keys: Any, *_: Any, **__: Any) -> int:
        return int(4 * math.prod(queries) * keys[-2])

    formulas = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attended,
        torch.ops.onednn.qlinear_pointwise: product,
    }
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        speak()
    return float(counter.get_total_flops())
