"""Checkpoints: found, verified, and refused by name when they are not what they should be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import checkpoint, upstream
from engine.errors import CheckpointError, EngineError, OfflineError
from engine.weights import sha256


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
    assert damage == "missing" or sha256(path) in caught.value.given


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

    def unreachable(*_: str) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
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

    def unreachable(*_: str) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
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

    def cached(*what: str) -> str:
        asked.append(what)
        return str(folder / ("model.safetensors" if "F5" in what[0] else f"vocos/{what[1]}"))

    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    found = checkpoint.find("F5TTS_v1_Base")
    assert (found.weights, found.vocoder) == (folder / "model.safetensors", folder / "vocos")
    assert (found.arch["dim"], found.trained, found.languages) == (1024, True, ("en", "zh"))
    assert asked == [
        checkpoint.HUB["F5TTS_v1_Base"],
        ("charactr/vocos-mel-24khz", "config.yaml"),
        ("charactr/vocos-mel-24khz", "pytorch_model.bin"),
    ]


def test_the_digest_changes_with_weights_and_vocoder(folder: Path) -> None:
    """A measurement is pinned to both."""
    found = checkpoint.find(folder)
    digests = {found.digest()}
    for file in (found.weights, found.vocoder / "pytorch_model.bin"):
        file.write_bytes(file.read_bytes() + b"x")
        digests.add(found.digest())
    assert len(digests) == 3
