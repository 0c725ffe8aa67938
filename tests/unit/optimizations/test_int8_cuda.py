"""int8 on CUDA: exact integer products, tried on a CPU, whose torch has the same operation."""

from __future__ import annotations

import pytest
import torch

from engine.errors import DeviceError
from engine.optimizations import int8_cuda
from tests.unit.optimizations.test_int8 import close, linear, oracle


def test_products_are_those_of_exact_integers() -> None:
    """Any width that 8 divides, any loudness, with and without bias: only the rounding to 8 bits is lost."""
    for seed, (inputs, outputs, scale, bias) in enumerate(
        [(96, 32, 1.0, True), (512, 8, 1e-6, False), (1024, 64, 1e4, True)]
    ):
        layer, x = linear(inputs, outputs, bias=bias, seed=seed), torch.randn(2, 20, inputs) * scale
        with torch.inference_mode():
            assert close(int8_cuda.quantized(layer)(x), oracle(layer, x, int8_cuda.TOP)) < 1e-5


def test_a_frame_does_not_depend_on_its_company_and_silence_gives_the_bias() -> None:
    """Alone, in a batch, or beside a much louder one: the same bytes."""
    layer, x = linear(), torch.randn(3, 20, 96)
    rounded = int8_cuda.quantized(layer)
    x[1] *= 1000
    with torch.inference_mode():
        assert torch.equal(rounded(x[:1]), rounded(x)[:1])
        assert torch.equal(rounded(torch.zeros(20, 96)), layer.bias.expand(20, -1))


def test_it_answers_in_the_format_it_was_asked_in() -> None:
    """So that it goes together with a half format of the rest."""
    layer, x = linear(), torch.randn(20, 96)
    with torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float16):
            out = int8_cuda.quantized(layer.to(dtype))(x.to(dtype))
            assert out.dtype == dtype
            assert close(out, layer.float()(x)) < 0.05


def test_a_card_without_an_exact_product_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is missing or wrong; with what to do instead."""
    int8_cuda.check("cpu")
    monkeypatch.setattr(int8_cuda, "product", lambda codes, weight: torch.zeros(1))
    with pytest.raises(DeviceError, match="not exact"):
        int8_cuda.check("cpu")

    def missing(codes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("_int_mm")

    monkeypatch.setattr(int8_cuda, "product", missing)
    with pytest.raises(DeviceError, match="precision='fp16'"):
        int8_cuda.check("cpu")
