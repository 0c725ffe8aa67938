"""Seeded checkpoints: the same bytes everywhere, whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from engine import files
from engine.checkpoint import find, sha256
from engine.errors import CheckpointError
from engine.voices import seeded


def content(folder: Path) -> dict[str, str]:
    """Digest of every file by its relative path."""
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_a_seeded_checkpoint_has_the_same_bytes_every_time(tiny_folder: Path, tmp_path: Path) -> None:
    """Whatever was drawn before, and the caller's own random state aside."""
    torch.manual_seed(1)
    torch.rand(17)
    assert content(seeded.ensure("seeded-tiny", tmp_path)) == content(tiny_folder)


def test_writers_at_the_same_time_leave_one_whole_checkpoint(tiny_folder: Path, tmp_path: Path) -> None:
    """Four threads, while another draws from the global generator: right bytes, and nothing else in the
    folder."""
    with ThreadPoolExecutor(5) as pool:
        noise = pool.submit(lambda: [torch.randn(1000) for _ in range(500)])
        folders = set(pool.map(lambda _: seeded.ensure("seeded-tiny", tmp_path), range(4)))
        noise.result()
    (folder,) = folders
    assert content(folder) == content(tiny_folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_second_call_writes_nothing(tmp_path: Path) -> None:
    """What is there is used."""
    folder = seeded.ensure("seeded-tiny", tmp_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert seeded.ensure("seeded-tiny", tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_an_unknown_size_lists_the_known_ones(tmp_path: Path) -> None:
    """Nothing is written for it."""
    with pytest.raises(CheckpointError, match="seeded-base"):
        seeded.ensure("seeded-gigantic", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_named_with_its_cure(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CheckpointError, match="Set XDG_CACHE_HOME"):
        seeded.ensure("seeded-tiny", tmp_path / "file")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills: no half checkpoint that a later call would take for a whole one."""

    def full(*_: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match="failed writing"):
        seeded.ensure("seeded-tiny", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_lost_its_manifest_is_not_taken_for_trained_weights(tmp_path: Path) -> None:
    """Without the manifest nothing is verified and nothing says that it is untrained."""
    folder = seeded.ensure("seeded-tiny", tmp_path)
    (folder / "voice.json").unlink()
    with pytest.raises(CheckpointError, match="Delete that folder"):
        seeded.ensure("seeded-tiny", tmp_path)


def test_it_says_that_it_is_untrained(tiny_folder: Path) -> None:
    """Nobody should take its noise for a bad voice."""
    assert not find("seeded-tiny").trained


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME where it is set, else the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert files.cache() == Path("/somewhere/ishowtts")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert files.cache() == Path.home() / ".cache/ishowtts"


def test_no_zero_initialised_layer_is_left(tiny_folder: Path) -> None:
    """A layer of zeros hides whatever an optimisation does behind it."""
    from safetensors.torch import load_file

    tensors = load_file(tiny_folder / "model.safetensors")
    left = [name for name, value in tensors.items() if not value.any() and value.ndim > 1]
    assert [name for name in left if not name.endswith("grn.beta")] == []
