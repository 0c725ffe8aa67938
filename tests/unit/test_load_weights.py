"""Weight files: both published formats are read, and any other file is a clear error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from engine.errors import CheckpointError
from engine.loading import load_weights, state_dict

TENSORS = {"transformer.a": torch.arange(4.0), "transformer.b": torch.ones(2, 3)}


@pytest.mark.parametrize("form", ["safetensors", "ema", "model", "plain", "bookkeeping"])
def test_every_published_form_gives_the_same_tensors(tmp_path: Path, form: str) -> None:
    """Prefix, wrapping and bookkeeping of upstream's formats are undone."""
    prefixed = {f"ema_model.{name}": value for name, value in TENSORS.items()}
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "model.pt")
    if form == "safetensors":
        save_file(prefixed, path)
    elif form == "ema":
        torch.save(
            {"ema_model_state_dict": prefixed, "model_state_dict": {"x": torch.ones(1)}, "step": 7}, path
        )
    elif form == "model":
        torch.save({"model_state_dict": TENSORS}, path)
    elif form == "plain":
        torch.save(TENSORS, path)
    else:
        extra = {"initted": torch.tensor(True), "step": torch.tensor(7)}
        old = {"ema_model.mel_spec.mel_stft.mel_scale.fb": torch.ones(2)}
        torch.save({"ema_model_state_dict": {**prefixed, **extra, **old}}, path)
    read = state_dict(path)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], value) for name, value in TENSORS.items())


class Malicious:
    """A pickle that runs code when it is opened."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (self.target,)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    """`.pt` files come from strangers."""
    torch.save({"model_state_dict": Malicious(str(tmp_path / "owned"))}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        state_dict(tmp_path / "model.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [torch.ones(2), [1], {1: torch.ones(1)}, "words", None])
def test_a_pt_file_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    """Tensors by name, or nothing."""
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError):
        state_dict(tmp_path / "model.pt")


@given(data=st.data(), suffix=st.sampled_from([".pt", ".safetensors", ".bin"]))
@settings(max_examples=60)
def test_any_damage_gives_tensors_or_a_checkpoint_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    """Cut anywhere, or with any bytes overwritten: never another exception."""
    path = tmp_path_factory.mktemp("damage") / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(TENSORS, path)
    else:
        torch.save(TENSORS, path, _use_new_zipfile_serialization=suffix == ".pt")
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=4)):
        if at < len(content):
            content[at] = value
    path.write_bytes(content)
    try:
        state_dict(path)
    except CheckpointError:
        return


def test_a_missing_weight_file_is_refused(tmp_path: Path) -> None:
    """The file went between finding and opening it."""
    with pytest.raises(CheckpointError, match=r"gone\.pt"):
        state_dict(tmp_path / "gone.pt")


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": torch.ones(2, 2)},
        {"weight": torch.ones(2, 2), "bias": torch.ones(2), "extra": torch.ones(1)},
        {"weight": torch.ones(3, 2), "bias": torch.ones(2)},
        {"weight": "words", "bias": torch.ones(2)},
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path: Path, tensors: dict[str, Any]) -> None:
    """A missing, a strange and a misshapen parameter are each named."""
    torch.save(tensors, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"another architecture \(.+\)"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "model.pt")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "ema_model.module.", "module._orig_mod."])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_foreign_prefixes_are_taken_away(tmp_path: Path, prefix: str, suffix: str) -> None:
    """Those of parallel training and of compilation."""
    layer, path = torch.nn.Linear(2, 2), tmp_path / f"model.{suffix}"
    tensors = {f"{prefix}{name}": value + 1 for name, value in layer.state_dict().items()}
    save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)
    load_weights(layer, path)
    assert torch.equal(layer.weight + 0, tensors[f"{prefix}weight"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_named(tmp_path: Path, value: float) -> None:
    """A diverged checkpoint speaks noise at any precision."""
    weight = torch.ones(2, 2)
    weight[1, 0] = value
    save_file({"weight": weight, "bias": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinite numbers in weight.*earlier checkpoint"):
        load_weights(torch.nn.Linear(2, 2), tmp_path / "model.safetensors")


def test_a_checkpoint_with_its_training_arguments_says_what_to_do(tmp_path: Path) -> None:
    """A Namespace beside the tensors: the cure is not another download."""
    import argparse

    path = tmp_path / "model.pt"
    torch.save({"model_state_dict": TENSORS, "args": argparse.Namespace(lr=1)}, path)
    with pytest.raises(CheckpointError, match=r"argparse\.Namespace.*save its tensors alone"):
        state_dict(path)


def test_another_vocabulary_is_told_from_another_architecture(tmp_path: Path) -> None:
    """The commonest mistake with a fine-tune."""

    class Model(torch.nn.Module):
        def __init__(self, tokens: int) -> None:
            super().__init__()
            self.transformer = torch.nn.Module()
            self.transformer.text_embed = torch.nn.Module()
            self.transformer.text_embed.text_embed = torch.nn.Embedding(tokens + 1, 2)

    save_file(Model(7).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"for 7 tokens with a vocabulary of 9.*vocab\.txt"):
        load_weights(Model(9), tmp_path / "model.safetensors")
