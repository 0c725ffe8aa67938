"""precision and vocoder_precision: off is untouched, on is seen at the products."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.evidence import Batch, Observations, Trace
from engine.optimizations import precision, vocoder_precision
from engine.options import Options
from tests.unit.parts import parts

FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Transformer(torch.nn.Module):
    """The parts that `precision` tells apart."""

    def __init__(self) -> None:
        super().__init__()
        self.rotary_embed = torch.nn.Linear(2, 2)
        self.time_embed = torch.nn.Linear(2, 2)
        self.proj_out = torch.nn.Linear(2, 2)


def model() -> Any:
    """A model and a vocoder in one."""
    return SimpleNamespace(
        transformer=Transformer(), backbone=torch.nn.Linear(2, 2), head=torch.nn.Linear(2, 2)
    )


def hooks(module: torch.nn.Module) -> int:
    """Hooks anywhere in a module."""
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.mark.parametrize("toggle", [precision, vocoder_precision])
def test_off_leaves_no_trace(toggle: Any) -> None:
    """The same object, the same number formats, no hook."""
    one = model()
    whole = parts(model=one, vocos=one)
    assert toggle.apply(whole, Options(), Observations()) is whole
    modules = [one.transformer, one.backbone, one.head]
    assert {p.dtype for part in modules for p in part.parameters()} == {torch.float32}
    assert [hooks(part) for part in modules] == [0, 0, 0]


@pytest.mark.parametrize("name", FORMATS)
def test_precision_casts_all_but_positions_and_times(name: str) -> None:
    """A position or a time in a half format is another position or time; the names of parameters stay."""
    one = model()
    names = [key for key, _ in one.transformer.named_parameters()]
    precision.apply(parts(model=one), Options(precision=name), Observations())  # type: ignore[arg-type]
    formats = {key: p.dtype for key, p in one.transformer.named_parameters()}
    assert sorted(formats) == sorted(names)
    assert {key: dtype for key, dtype in formats.items() if "proj_out" in key} == dict.fromkeys(
        ("proj_out.weight", "proj_out.bias"), FORMATS[name]
    )
    assert {dtype for key, dtype in formats.items() if "embed" in key} == {torch.float32}
    assert one.transformer.time_embed(torch.ones(2)).dtype == FORMATS[name]


@pytest.mark.parametrize("name", FORMATS)
def test_vocoder_precision_casts_the_backbone_and_not_the_head(name: str) -> None:
    """Phase and inverse STFT need the full format."""
    one = model()
    vocoder_precision.apply(parts(vocos=one), Options(vocoder_precision=name), Observations())  # type: ignore[arg-type]
    assert one.backbone(torch.ones(2)).dtype == FORMATS[name]
    assert one.head.weight.dtype == torch.float32


@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("seen", ["fp32", "bf16", "fp16"])
def test_the_proof_is_the_format_that_was_seen(asked: Any, seen: str) -> None:
    """Another format, or a mixture, disproves it; nothing seen is unknown."""
    for toggle, options in (
        (precision, Options(precision=asked)),
        (vocoder_precision, Options(vocoder_precision=asked)),
    ):
        observed = Observations()
        assert toggle.evidence(options, observed).proven is None
        observed.sampled(Trace(options, 0, slice(1)), {seen}, Batch(1, 9, 9, True))
        observed.add(f"vocoder {seen}")
        assert toggle.evidence(options, observed).proven is (asked == seen)
        observed.sampled(Trace(options, 0, slice(1)), {"other"}, Batch(1, 9, 9, True))
        observed.add("vocoder other")
        assert toggle.evidence(options, observed).proven is False
