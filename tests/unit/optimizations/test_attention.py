"""attention: one kernel during a call, torch's own setting before and after, threads included."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from engine.errors import DeviceError
from engine.evidence import Observations, kernels_run
from engine.optimizations import attention
from engine.options import Options
from tests.unit.parts import parts

OP = torch.nn.functional.scaled_dot_product_attention


def run(options: Options, observed: Observations) -> set[str]:
    """The kernels of one call of a transformer that is one attention."""
    x = torch.randn(1, 2, 9, 64)
    with kernels_run() as ran, contextlib.ExitStack() as stack:
        for enter in attention.apply(parts(), options, observed).around:
            stack.enter_context(enter())
        OP(x, x, x)
    return set(ran)


def settings() -> tuple[bool, ...]:
    """Torch's own choice, which is one for the process."""
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled(), cuda.math_sdp_enabled(), cuda.mem_efficient_sdp_enabled()


def test_auto_hands_back_the_parts_themselves() -> None:
    """Off means untouched."""
    observed, whole = Observations(), parts()
    assert attention.apply(whole, Options(), observed) is whole
    assert not observed.counts


@pytest.mark.parametrize(
    ("name", "kernel"), [("math", "attention_math"), ("flash", "flash_attention_for_cpu")]
)
def test_the_named_kernel_runs_and_the_setting_is_put_back(name: Any, kernel: str) -> None:
    """During the call alone."""
    before = settings()
    assert run(Options(attention=name), Observations()) == {f"aten::_scaled_dot_product_{kernel}"}
    assert settings() == before


def test_a_call_that_fails_puts_the_setting_back() -> None:
    """Else every later engine of the process would be held to it."""
    before = settings()
    with pytest.raises(RuntimeError, match="out of memory"), attention.hold("math", Observations()):
        raise RuntimeError("out of memory")
    assert settings() == before
    assert run(Options(attention="flash"), Observations())  # and no lock is left behind


def test_threads_with_other_choices_do_not_disturb_each_other() -> None:
    """The setting is the process's: two that changed it at once would leave each other's behind."""
    before, names = settings(), ["math", "flash"] * 20

    def one(name: Any) -> bool:
        (kernel,) = run(Options(attention=name), Observations())
        return name in kernel

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, names))
    assert settings() == before


@pytest.mark.parametrize("name", ["efficient", "cudnn"])
def test_a_kernel_that_this_device_lacks_is_refused_before_loading(name: Any) -> None:
    """Found by trying it once, so that no list of devices can be wrong."""
    with pytest.raises(DeviceError, match="attention='auto'"):
        attention.check_device(Options(attention=name), "cpu")


@pytest.mark.parametrize("name", ["auto", "math", "flash"])
def test_a_kernel_that_this_device_has_is_taken(name: Any) -> None:
    """No false alarm."""
    attention.check_device(Options(attention=name), "cpu")


@pytest.mark.parametrize(
    ("name", "seen", "proven"),
    [
        ("flash", ["flash_attention_for_cpu"], True),
        ("flash", ["flash_attention"], True),
        ("flash", ["attention_math"], False),
        ("flash", ["flash_attention", "attention_math"], False),
        ("flash", [], False),
        ("math", ["attention_math"], True),
        ("math", ["flash_attention_for_cpu"], False),
        ("cudnn", ["cudnn_attention"], True),
        ("efficient", ["efficient_attention"], True),
        ("efficient", ["cudnn_attention"], False),
    ],
)
def test_the_proof_is_the_kernel_that_was_seen(name: Any, seen: list[str], proven: bool) -> None:
    """Another one, a mixture or none disproves it."""
    observed, options = Observations(), Options(attention=name)
    assert attention.evidence(options, observed).proven is None
    observed.note("calls", 2)
    observed.note("held calls", 2)
    observed.add("watched calls")
    for kernel in seen:
        observed.add(attention.KERNEL + kernel, 4)
    assert attention.evidence(options, observed).proven is proven


def test_the_right_kernel_by_chance_is_no_proof() -> None:
    """Torch may choose the same one by itself, and may choose another for the next length."""
    observed = Observations()
    for name in ("calls", "watched calls"):
        observed.add(name)
    observed.add(attention.KERNEL + "flash_attention")
    assert attention.evidence(Options(attention="flash"), observed).proven is False
    observed.add("held calls")
    assert attention.evidence(Options(attention="flash"), observed).proven is True


def test_auto_is_disproven_by_a_call_that_was_held() -> None:
    """Off and yet at work."""
    observed = Observations()
    assert attention.evidence(Options(), observed).proven is True
    run(Options(attention="math"), observed)
    assert attention.evidence(Options(), observed).proven is False
