"""int8: exact integer products, a frame's result its own, and no layer touched that was not asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DeviceError, OptionsError
from engine.evidence import Observations
from engine.optimizations import int8
from engine.options import Options
from tests.unit.parts import model, parts

ON = Options(int8="dynamic")


def linear(inputs: int = 96, outputs: int = 32, *, bias: bool = True, seed: int = 0) -> torch.nn.Linear:
    """A layer drawn from a seed."""
    torch.manual_seed(seed)
    return torch.nn.Linear(inputs, outputs, bias=bias).eval()


def oracle(layer: torch.nn.Linear, x: torch.Tensor, top: int) -> torch.Tensor:
    """The same rounding, with products and sums in 64-bit integers."""
    scales = layer.weight.abs().amax(1) / top
    weight = (layer.weight / scales[:, None]).round().long()
    step = (x.abs().amax(-1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    sums = (x / step).round().long() @ weight.T
    return sums.double() * step.double() * scales.double() + (
        0 if layer.bias is None else layer.bias.double()
    )


def close(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((one.double() - other.double()).abs().max() / other.double().abs().max().clamp_min(1e-30))


@pytest.fixture(scope="module")
def top() -> int:
    """What this machine can add exactly."""
    return int8.largest_weight()


@settings(max_examples=40)
@given(
    seed=st.integers(0, 999),
    shape=st.sampled_from([(96, 32), (64, 64), (100, 36), (512, 8), (33, 1)]),
    rows=st.integers(1, 20),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
    bias=st.booleans(),
)
def test_products_are_those_of_exact_integers(
    top: int, seed: int, shape: tuple[int, int], rows: int, scale: float, bias: bool
) -> None:
    """Any width, any loudness, with and without bias: only the rounding to 8 bits is lost."""
    layer = linear(*shape, bias=bias, seed=seed)
    x = torch.randn(2, rows, shape[0]) * scale
    with torch.inference_mode():
        assert close(int8.quantized(layer, top)(x), oracle(layer, x, top)) < 1e-5


def test_the_loudest_inputs_do_not_overflow(top: int) -> None:
    """All at the top of their range and of one sign: where 16-bit sums would saturate first."""
    layer, x = linear(1024, 16), torch.ones(3, 1024)
    with torch.no_grad():
        layer.weight.fill_(0.5)
    with torch.inference_mode():
        assert close(int8.quantized(layer, top)(x), layer(x)) < 1e-5


def test_a_frame_does_not_depend_on_its_company(top: int) -> None:
    """Alone, in a batch, or beside a much louder one: the same bytes."""
    layer, x = int8.quantized(linear(), top), torch.randn(3, 7, 96)
    x[1] *= 1000
    with torch.inference_mode():
        together = layer(x)
        assert torch.equal(layer(x[:1]), together[:1])
        assert torch.equal(layer(x[0, 4:5]), together[0, 4:5])


def test_silence_gives_the_bias(top: int) -> None:
    """Padding is zero, and zero has no largest value to divide by."""
    layer = linear()
    with torch.inference_mode():
        assert torch.equal(int8.quantized(layer, top)(torch.zeros(2, 96)), layer.bias.expand(2, -1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_answers_in_the_format_it_was_asked_in(top: int, dtype: torch.dtype) -> None:
    """So that it goes together with a half format of the rest."""
    layer, x = linear(), torch.randn(4, 96)
    with torch.inference_mode():
        out = int8.quantized(layer.to(dtype), top)(x.to(dtype))
        assert out.dtype == dtype
        assert close(out, layer.float()(x)) < 0.05


def saturating(codes: Any, packed: Any, scales: Any, zeros: Any) -> Any:
    """A CPU without VNNI: sums of two products stop at 2**15 - 1."""
    weight = packed.float()
    pairs = (codes.float()[..., None] * weight.T[None]).unflatten(1, (-1, 2)).sum(2)
    return pairs.clamp(max=2**15 - 1).sum(1) - 128 * weight.sum(1)


@pytest.mark.parametrize(
    ("product", "largest"),
    [(saturating, 63), (lambda c, w, s, z: (c.double() - 128) @ w.double().T, 127)],
    ids=["16-bit sums", "32-bit sums"],
)
def test_the_range_of_weights_is_found_by_trying(
    monkeypatch: pytest.MonkeyPatch, product: Any, largest: int
) -> None:
    """A wrong guess would be a tenth of the signal, in silence."""
    monkeypatch.setattr(torch.ops.onednn, "qlinear_prepack", lambda weight, _: weight)
    monkeypatch.setattr(int8, "_product", product)
    assert int8.largest_weight() == largest


@pytest.mark.parametrize("fault", ["wrong", "refuses"])
def test_a_cpu_without_an_exact_product_is_refused(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """With what to do instead."""

    def product(*_: Any) -> Any:
        if fault == "refuses":
            raise RuntimeError("could not create a primitive")
        return torch.zeros(1)

    monkeypatch.setattr(int8, "_product", product)
    with pytest.raises(DeviceError, match="int8='off'"):
        int8.largest_weight()


def test_a_gpu_is_refused_before_loading() -> None:
    """Here is no card to have an exact product."""
    int8.check_device(ON, "cpu")
    int8.check_device(Options(), "cuda:1")
    with pytest.raises(DeviceError, match="precision='fp16'"):
        int8.check_device(ON, "cuda:1")


def test_off_leaves_the_model_alone() -> None:
    """The same object, nothing counted."""
    whole, observed = parts(model=model(linear())), Observations()
    assert int8.apply(whole, Options(), observed) is whole
    assert not observed.counts


def test_a_backbone_without_blocks_is_refused() -> None:
    """E2-TTS has none."""
    with pytest.raises(OptionsError, match="Load an F5-TTS checkpoint"):
        int8.apply(parts(model=model(linear())), ON, Observations())


@pytest.mark.parametrize(
    ("options", "layers", "watched", "ran", "proven"),
    [
        (ON, 24, 0, 0, None),
        (ON, 24, 1, 24, True),
        (ON, 24, 1, 23, False),
        (ON, 0, 1, 0, False),
        (Options(), 0, 0, 0, True),
        (Options(), 24, 0, 0, False),
    ],
)
def test_the_proof_is_a_product_for_every_layer(
    options: Options, layers: int, watched: int, ran: int, proven: bool | None
) -> None:
    """As the dispatcher saw them; nothing watched is unknown, one short is no."""
    observed = Observations()
    observed.note("int8 layers", layers)
    observed.note("watched calls", watched)
    observed.note(f"kernel {int8.KERNEL}", ran)
    assert int8.evidence(options, observed).proven is proven
