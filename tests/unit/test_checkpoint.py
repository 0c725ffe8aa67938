"""Checkpoints: found, verified, and refused by name when they are not what they should be."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import checkpoint, files, upstream
from engine.errors import CheckpointError, EngineError, OfflineError
from engine.files import sha256


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one away."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_a_folder_is_found_with_all_its_parts(folder: Path) -> None:
    """Architecture, weights, vocabulary, vocoder and a default clip."""
    found = checkpoint.find(folder)
    assert (found.backbone, found.arch["depth"], found.trained) == ("DiT", 4, False)
    assert found.weights.name == "model.safetensors"
    assert found.vocoder == folder / "vocos"
    assert next(iter(found.references.values())).read()[1] == 24_000
    assert found.vocabulary == upstream.shipped("infer/examples/vocab.txt")


def test_a_weight_file_is_found_with_the_configuration_beside_it(folder: Path) -> None:
    """Any name of weights works, as they come from the hub; such weights count as trained."""
    weights = (folder / "model.safetensors").rename(folder / "model_1250000.safetensors")
    found = checkpoint.find(weights)
    assert (found.weights, found.trained, found.vocoder) == (weights, True, folder / "vocos")
    found = checkpoint.find(weights, vocoder=folder / "vocos")
    assert found.vocoder == folder / "vocos"


@pytest.mark.parametrize("name", ["gone", "F5TTS_v2", "seeded-huge", "n" * 5000, "nul\0", "/root/\0"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    """A typing error shows what can be typed."""
    with pytest.raises(CheckpointError) as caught:
        checkpoint.find(name)
    assert "seeded-tiny" in caught.value.expected or "path" in caught.value.expected


def test_the_known_names_are_boxed_seeded_and_published() -> None:
    """All that `find` takes without a path, the default among them."""
    assert {*checkpoint.HUB, "seeded-tiny", checkpoint.DEFAULT_CHECKPOINT} <= {*checkpoint.known()}


@pytest.mark.parametrize(
    "file", ["model.safetensors", "vocos/pytorch_model.bin", "config.yaml", "vocos/config.yaml"]
)
@pytest.mark.parametrize("damage", ["truncated", "edited", "missing"])
def test_a_file_that_is_not_the_one_named_is_refused(folder: Path, file: str, damage: str) -> None:
    """The error names the file, the checksum expected, and the one found."""
    path = folder / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    expected = json.loads((folder / "voice.json").read_text())["files"][file]["sha256"]
    with pytest.raises(CheckpointError) as caught:
        checkpoint.find(folder)
    assert str(path) in caught.value.given
    assert expected in caught.value.expected
    assert damage != "edited" or sha256(path) in caught.value.given
    assert damage != "truncated" or f"of {len(content) - 1} bytes" in caught.value.given


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"config.yaml": "abc"}},
        {"files": {"config.yaml": {}}},
        {"references": {"a": {}}},
        {"references": []},
        {"references": {"a": "clip.wav"}},
        {"default_reference": "gone"},
        {"references": {"a": {"file": "a.wav", "text": ""}}},
        {"level": 5},
        {"level": {"bits": 16, "gain_db": "loud"}},
    ],
)
def test_a_manifest_of_another_shape_is_refused(folder: Path, changes: dict[str, Any]) -> None:
    """Missing checksums, clips without words, a default that is not there."""
    edit(folder / "voice.json", **changes)
    with pytest.raises(EngineError):
        checkpoint.find(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "\udcff", "null"])
def test_a_manifest_that_is_no_object_is_refused(folder: Path, content: str) -> None:
    """The error names the file."""
    (folder / "voice.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"voice\.json"):
        checkpoint.find(folder)


@pytest.mark.parametrize(
    "model",
    [
        None,
        [],
        {},
        {"backbone": "DiT"},
        {"backbone": "DiT", "arch": "wide"},
        {"backbone": "DiT", "arch": {}, "tokenizer_path": "gone.txt"},
        {"backbone": "DiT", "arch": {}, "tokenizer_path": 7},
        {"backbone": "DiT", "arch": {}, "mel_spec": {**upstream.MEL_SPEC, "mel_spec_type": "bigvgan"}},
    ],
)
def test_a_configuration_that_cannot_be_built_is_refused(folder: Path, model: Any) -> None:
    """Missing parts, a vocabulary that is not there, a mel that Vocos does not understand."""
    edit(folder / "voice.json", files=None)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    with pytest.raises(CheckpointError, match=r"config\.yaml|vocabulary"):
        checkpoint.find(folder)


def test_missing_parts_of_a_folder_are_named(folder: Path, tmp_path: Path) -> None:
    """No configuration, no weights, an incomplete vocoder."""
    edit(folder / "voice.json", files=None)
    (folder / "vocos/config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"vocos without config\.yaml"):
        checkpoint.find(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="without weights"):
        checkpoint.find(folder)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        checkpoint.find(_only_weights(tmp_path))


def _only_weights(folder: Path) -> Path:
    (folder / "model.safetensors").touch()
    return folder


def test_every_published_configuration_is_understood() -> None:
    """The shipped files of all hub names parse, and their mel is the vocoder's."""
    for name in checkpoint.HUB:
        parts = checkpoint._config(upstream.shipped(f"configs/{name}.yaml"))
        assert parts["backbone"] == ("UNetT" if name.startswith("E2") else "DiT")


@pytest.mark.parametrize("name", checkpoint.HUB)
def test_an_unreachable_hub_says_what_to_download_and_where_to_put_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Repository, file, the configuration that must lie beside it, and the command."""

    monkeypatch.setattr("engine.files._hub_answers", lambda: False)
    with pytest.raises(OfflineError) as caught:
        checkpoint.find(name)
    repository, file = checkpoint.HUB[name]
    assert f"hf download {repository} {file}" in caught.value.cure
    assert f"{name}.yaml" in caught.value.cure
    assert "config.yaml" in caught.value.cure


def test_an_unreachable_vocoder_says_its_own_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are there, the vocoder is not: the cure speaks of the vocoder alone."""
    shutil.rmtree(folder / "vocos")
    edit(folder / "voice.json", files=None)

    monkeypatch.setattr("engine.files._hub_answers", lambda: False)
    with pytest.raises(OfflineError) as caught:
        checkpoint.find(folder)
    assert "hf download charactr/vocos-mel-24khz config.yaml pytorch_model.bin" in caught.value.cure
    assert "--vocoder" in caught.value.cure
    assert "F5-TTS" not in caught.value.cure


def test_a_published_model_in_the_local_cache_needs_no_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is asked for by repository and name, and the answer is used."""
    asked: list[tuple[str, ...]] = []

    def cached(*what: str, revision: str) -> str:
        asked.append(what)
        assert len(revision) == 40  # a commit, not a branch
        return str(folder / ("model.safetensors" if "F5" in what[0] else f"vocos/{what[1]}"))

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    found = checkpoint.find("F5TTS_v1_Base")
    assert (found.weights, found.vocoder) == (folder / "model.safetensors", folder / "vocos")
    assert (found.arch["dim"], found.trained, found.languages) == (1024, True, ("en", "zh"))
    assert asked == [
        checkpoint.HUB["F5TTS_v1_Base"],
        ("charactr/vocos-mel-24khz", "config.yaml"),
        ("charactr/vocos-mel-24khz", "pytorch_model.bin"),
    ]


def test_a_hub_that_does_not_answer_is_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One refused connection is an answer; its own client would try for half a minute."""
    from huggingface_hub import constants

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(OfflineError, match="did not give it"):
        checkpoint.find("F5TTS_v1_Base")


def test_a_file_of_the_hub_that_is_not_the_pinned_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum is known here."""
    monkeypatch.setattr("engine.files._hub_answers", lambda: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(folder / "model.safetensors"))
    with pytest.raises(CheckpointError, match="670900fd"):
        checkpoint.find("F5TTS_v1_Base", vocoder=folder / "vocos")


@pytest.mark.parametrize(
    "names", [["model_100.pt", "model_2500.safetensors"], ["model_last.pt", "model_100.pt"]]
)
def test_a_fine_tune_is_found_as_training_leaves_it(folder: Path, names: list[str]) -> None:
    """Its weights by step or as the last, its configuration under upstream's name, its own vocabulary."""
    (folder / "voice.json").unlink()
    (folder / "model.safetensors").unlink()
    (folder / "config.yaml").rename(folder / "F5TTS_v1_Base.yaml")
    (folder / "vocab.txt").write_text("a\nb\n")
    for name in names:
        (folder / name).touch()
    found = checkpoint.find(folder)
    assert found.weights.name == ("model_last.pt" if "model_last.pt" in names else "model_2500.safetensors")
    assert found.vocabulary == folder / "vocab.txt"
    assert checkpoint.find(folder / names[0]).vocabulary == folder / "vocab.txt"
    (folder / "other.yaml").touch()
    with pytest.raises(CheckpointError, match=r"F5TTS_v1_Base\.yaml, other\.yaml"):
        checkpoint.find(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_seconds", "abc"), ("max_seconds", None), ("max_seconds", 1e9), ("max_seconds", True),
        ("max_seconds", 0), ("languages", "en"), ("languages", None), ("languages", [1]), ("durations", 5),
        ("durations", "../../secret"), ("durations", "/etc/passwd"), ("trained", "yes"), ("files", []),
        ("references", 3), ("default_reference", 7),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_named_with_its_value(folder: Path, field: str, value: Any) -> None:
    """Not a raw error from the depths, and never a file of another folder."""
    path = folder / "voice.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.find(folder)
    assert f"{field}={str(value)!r}" in caught.value.given


def test_files_that_are_too_large_or_none_are_refused_before_they_are_read(folder: Path) -> None:
    """A configuration of gigabytes, and one that never ends."""
    edit(folder / "voice.json", files=None)
    config = folder / "config.yaml"
    with config.open("wb") as file:
        file.truncate(files.LARGEST_TEXT + 1)
    with pytest.raises(CheckpointError, match="bytes"):
        checkpoint.find(folder)
    config.unlink()
    os.mkfifo(config)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        checkpoint.find(folder)


def test_no_home_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an entry and without HOME, as in many containers."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(CheckpointError, match="Set XDG_CACHE_HOME"):
        checkpoint.find("seeded-tiny")


def test_the_digest_changes_with_weights_and_vocoder(folder: Path) -> None:
    """A measurement is pinned to both."""
    found = checkpoint.find(folder)
    digests = {found.digest()}
    for file in (found.weights, found.vocoder / "pytorch_model.bin"):
        file.write_bytes(file.read_bytes() + b"x")
        digests.add(found.digest())
    assert len(digests) == 3
