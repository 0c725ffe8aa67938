"""The CPU kernels against slow oracles in torch; skipped where the machine cannot run them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from engine import dit, native
from engine.errors import DeviceError

needs_kernels = pytest.mark.skipif(bool(native.missing()), reason=f"kernels: {native.missing()}")


def near(got: Any, expected: Any, bound: float) -> bool:
    """Relative L2."""
    return bool((got - expected).norm() <= bound * expected.norm())


def linear(outputs: int, inputs: int) -> tuple[Any, Any]:
    """Weights whose codes are the weights themselves, so that only activations are rounded; and a bias."""
    codes = torch.randint(-127, 128, (outputs, inputs)).float()
    codes[:, 0] = 127
    return codes / 256, torch.randn(outputs)


def norm(x: Any, scale: Any, shift: Any) -> Any:
    """Upstream's adaptive norm."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def rounded(x: Any) -> Any:
    """`x` as its 8-bit codes say it, a scale to each row."""
    step = x.abs().amax(-1, keepdim=True) / 127
    return (x / step).round() * step


@needs_kernels
def test_attention_is_torchs_within_bf16() -> None:
    """For odd lengths, one frame, padding, large scores, and inputs of both formats."""
    torch.manual_seed(0)
    for batch, heads, frames, scale in ((2, 2, 77, 1.0), (1, 3, 1, 1.0), (3, 1, 64, 6.0), (2, 2, 130, 0.1)):
        q, k, v = (torch.randn(batch, heads, frames, 64) * scale for _ in range(3))
        lengths = torch.tensor([max(1, frames - 9 * index) for index in range(batch)])
        mask = torch.arange(frames)[None] < lengths[:, None]
        for half in (False, True):
            given = [each.bfloat16() if half else each for each in (q, k, v)]
            exact = [each.float() for each in given]
            expected = functional.scaled_dot_product_attention(*exact, attn_mask=mask[:, None, None])
            got = native.operations().attention(*given, lengths)
            bound = 0.05 if scale > 1 else 0.01
            assert near(got, expected.transpose(1, 2).flatten(2), bound), (batch, heads, frames, scale, half)


@needs_kernels
def test_a_row_depends_on_no_other() -> None:
    """What shares its batch, and how far it is padded, changes not one bit of it."""
    torch.manual_seed(1)
    q, k, v = (torch.randn(3, 2, 90, 64) for _ in range(3))
    lengths = torch.tensor([90, 41, 7])
    together = native.operations().attention(q, k, v, lengths)
    for index, length in enumerate(lengths.tolist()):
        own = [each[index : index + 1, :, :length].contiguous() for each in (q, k, v)]
        alone = native.operations().attention(*own, lengths[index : index + 1])
        assert torch.equal(alone[0], together[index, :length])


@needs_kernels
def test_the_projection_is_the_norm_the_product_and_the_turn() -> None:
    """Of the heads that are to be turned, in both formats, for rows that fill no tile."""
    torch.manual_seed(2)
    batch, frames, heads, width = 2, 101, 2, 128
    x, scale, shift = torch.randn(batch, frames, width), torch.randn(width) / 9, torch.randn(width) / 9
    weight, bias = linear(3 * heads * 64, width)
    angles = torch.randn(frames, 32)
    table = torch.stack((angles.cos(), angles.sin()), -1)
    product = functional.linear(rounded(norm(x, scale, shift)), weight, bias)
    parts = product.view(batch, frames, 3, heads, 64).permute(2, 0, 3, 1, 4).contiguous()
    for turning in (0, 1, heads):
        expected = parts.clone()
        if turning:
            expected[:2, :, :turning] = dit.turn(parts[:2, :, :turning].flatten(0, 1), table).unflatten(
                0, (2, -1)
            )
        for half, bound in ((False, 1e-3), (True, 5e-3)):
            given = (x, scale, shift, *native.pack(weight, bias), table, turning, half)
            assert near(native.operations().project(*given).float(), expected, bound), (turning, half)


@needs_kernels
def test_merging_adds_what_the_gate_lets_through_and_leaves_padding_alone() -> None:
    """In place; frames behind a sequence's end keep what they held."""
    torch.manual_seed(3)
    x, joined, gate = torch.randn(2, 50, 128), torch.randn(2, 50, 192), torch.randn(128)
    weight, bias = linear(128, 192)
    lengths = torch.tensor([50, 13])
    mask = (torch.arange(50)[None] < lengths[:, None])[..., None]
    added = gate * functional.linear(rounded(joined), weight, bias) * mask
    got = x.clone()
    native.operations().merge(got, joined, gate, *native.pack(weight, bias), lengths)
    assert near(got - x, added, 1e-3)
    assert torch.equal(got[1, 13:], x[1, 13:])


@needs_kernels
def test_feeding_forward_is_upstreams_within_its_rounding() -> None:
    """Norm, two products, GELU between them, and the gate; very large and very small rows among them."""
    torch.manual_seed(4)
    x, scale, shift, gate = torch.randn(1, 100, 128), *torch.randn(3, 128) / 9
    x[:, 3] *= 1e4
    x[:, 4] *= 1e-4
    (rise, one), (fall, other) = linear(256, 128), linear(128, 256)
    hidden = functional.linear(rounded(norm(x, scale, shift)), rise, one)
    hidden = rounded(functional.gelu(hidden, approximate="tanh"))
    got = x.clone()
    packed = (*native.pack(rise, one), *native.pack(fall, other))
    native.operations().feed(got, scale, shift, gate, *packed)
    for row in (slice(0, 3), slice(5, 100)):
        assert near((got - x)[:, row], (gate * functional.linear(hidden, fall, other))[:, row], 2e-3)
    assert torch.isfinite(got).all()


@needs_kernels
def test_sums_are_exact_where_they_are_largest() -> None:
    """255 times 127 a thousand times over: instructions that saturate would lose it."""
    weight = torch.ones(64, 1024)
    joined = torch.ones(1, 6, 1024)
    got = torch.zeros(1, 6, 64)
    native.operations().merge(got, joined, torch.ones(64), *native.pack(weight, None), torch.tensor([6]))
    torch.testing.assert_close(got, torch.full_like(got, 1024.0))


@needs_kernels
def test_their_work_is_counted() -> None:
    """By torch's own counter, as the products that they are."""
    from torch.utils.flop_counter import FlopCounterMode

    x, joined = torch.zeros(1, 6, 64), torch.zeros(1, 6, 128)
    q = torch.zeros(1, 2, 6, 64)
    operations = native.operations()
    with FlopCounterMode(display=False) as counter:
        packed = native.pack(torch.ones(64, 128), None)
        operations.merge(x, joined, torch.ones(64), *packed, torch.tensor([6]))
        operations.attention(q, q, q, torch.tensor([6]))
    assert counter.get_total_flops() == 2 * 6 * 128 * 64 + 4 * 2 * 6 * 6 * 64


def test_a_machine_that_lacks_something_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's feature, the compiler, or a folder to keep the kernels in."""
    for name, answer, sentence in (
        ("_processor_flags", (), "a processor without avx512f"),
        ("_compiler", None, "no C.. compiler"),
        ("_keeps", False, "a cache that cannot be written"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(native.platform, "machine", lambda: "x86_64")
            patch.setattr(native, "_processor_flags", lambda: native.FLAGS)
            patch.setattr(native, "_compiler", lambda: "c++")
            patch.setattr(native, "_keeps", lambda: True)
            patch.setattr(native, name, lambda answer=answer: answer)
            native.operations.cache_clear()
            with pytest.raises(DeviceError, match=sentence):
                native.operations()
    native.operations.cache_clear()


def test_a_build_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what the compiler said."""
    failed = subprocess.CompletedProcess([], 1, "", "kernels.cpp:1: error: no such thing\n")
    monkeypatch.setattr(native, "cache", lambda: tmp_path)
    monkeypatch.setattr(native, "_compiler", lambda: "c++")
    monkeypatch.setattr(native.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DeviceError, match="error: no such thing"):
        native._library()
    assert not list((tmp_path / "kernels").iterdir())


def test_a_torch_without_the_stable_interface_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version: the compiler's own words would be about headers."""
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(native, "_processor_flags", lambda: native.FLAGS)
    monkeypatch.setattr(native, "_compiler", lambda: "c++")
    monkeypatch.setattr(native, "_keeps", lambda: True)
    for version, refused in (("2.9.1", True), ("2.10.0+cpu", False), ("2.13.0", False), ("3.0", False)):
        monkeypatch.setattr(native.metadata, "version", lambda _, version=version: version)
        assert bool(native.missing()) is refused, version


def test_a_cache_that_does_not_exist_yet_can_be_written_where_its_folder_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked is the nearest folder that is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert native._keeps()
    monkeypatch.setattr(native.os, "access", lambda place, _: place != tmp_path)
    assert not native._keeps()
