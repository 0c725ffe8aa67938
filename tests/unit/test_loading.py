"""Loading: the device is checked first, and the toggles go on in one order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import Engine, Options, checkpoint, loading, upstream
from engine.errors import CheckpointError, DeviceError
from engine.evidence import Observations
from engine.loading import PROOFS, STEPS, load
from engine.optimizations import int8


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "meta", "", "cpu:x", 7])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """Unknown, absent, or one that holds no data."""
    with pytest.raises(DeviceError, match="device="):
        load("seeded-tiny", device=device)


def test_kernels_for_cpus_run_on_the_cpu_beside_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a device is named, which is then obeyed or refused."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    fused = Options(int8="fused", hoist=True)
    assert (loading._device(None, fused), loading._device(None, Options())) == ("cpu", "cuda")
    with pytest.raises(DeviceError, match="a CPU"):
        int8.check_device(fused, "cuda")


def test_what_a_device_cannot_do_is_refused_before_anything_is_looked_for() -> None:
    """The wrong option is told before the wrong checkpoint."""
    with pytest.raises(DeviceError, match="attention='cudnn'"):
        load("gone", Options(attention="cudnn"), device="cpu")


def test_an_unknown_checkpoint_is_refused() -> None:
    """With the names that are known."""
    with pytest.raises(CheckpointError, match="seeded-tiny"):
        load("gone", device="cpu")


def test_loading_draws_nothing_from_the_global_generator(tiny_folder: Path) -> None:
    """Whoever trains in this process goes on as if nothing had been loaded."""
    before = torch.get_rng_state()
    load(tiny_folder, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_step_is_named_after_its_option() -> None:
    """So that its evidence is found by that name; what has no step is the sampler's."""
    names = {field.name for field in dataclasses.fields(Options)}
    assert set(PROOFS) == names - {"guidance_until"}
    assert [step.__name__.rpartition(".")[2] for step in STEPS] == list(PROOFS)[: len(STEPS)]


def test_every_step_is_off_by_default(engine: Engine) -> None:
    """Off hands back the very same parts, whatever the step."""
    parts, seen = engine._open(), Observations()
    for step in STEPS:
        assert step.apply(parts, Options(), seen) is parts
    assert not seen.counts


def test_loading_twice_gives_two_engines(tiny: Callable[..., Engine]) -> None:
    """Closing one leaves the other."""
    one, other = tiny(), tiny()
    one.close()
    assert other.synthesize("Hello, chat!").seconds > 0


def test_building_a_model_draws_no_random_numbers(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """337 million of them take seconds, and a checkpoint overwrites each."""
    drawn: list[str] = []
    built = upstream.build_model

    def watched(*arguments: Any) -> Any:
        before = torch.get_rng_state()
        model = built(*arguments)
        drawn.extend([] if torch.equal(before, torch.get_rng_state()) else ["the transformer"])
        return model

    monkeypatch.setattr(upstream, "build_model", watched)
    model, _ = loading.build(checkpoint.find(tiny_folder))
    assert not drawn
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
