"""Loading: the device is checked first, and the toggles go on in one order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine import Engine, Options
from engine.errors import CheckpointError, DeviceError, OptionsError
from engine.loading import load


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "", "cpu:x", 7])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """Unknown, absent, or one that holds no data."""
    with pytest.raises(DeviceError, match="device="):
        load("seeded-tiny", device=device)


def test_what_a_device_cannot_do_is_refused_before_anything_is_looked_for() -> None:
    """The wrong option is told before the wrong checkpoint."""
    with pytest.raises(OptionsError, match="reduce-overhead"):
        load("gone", Options(compile="reduce-overhead"), device="cpu")


def test_an_unknown_checkpoint_is_refused() -> None:
    """With the names that are known."""
    with pytest.raises(CheckpointError, match="seeded-tiny"):
        load("gone", device="cpu")


def test_loading_twice_gives_two_engines(tiny: Callable[..., Engine]) -> None:
    """Closing one leaves the other."""
    one, other = tiny(), tiny()
    one.close()
    assert other.synthesize("Hello, chat!").seconds > 0
