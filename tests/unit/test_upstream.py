"""The contact with upstream: imports, shipped files, building, tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import upstream
from engine.errors import CheckpointError, UpstreamError
from engine.voices import seeded

VOCABULARY = "infer/examples/vocab.txt"
TINY = seeded.SIZES["seeded-tiny"]


def test_a_missing_package_is_named_with_its_cure() -> None:
    """Not an ImportError from the depths."""
    with pytest.raises(UpstreamError, match=r"f5_tts\.model\.gone.*pip install f5-tts"):
        upstream.module("f5_tts.model.gone")


def test_a_file_that_f5_tts_does_not_ship_is_named() -> None:
    """An upstream release that moves a file fails with its name."""
    with pytest.raises(UpstreamError, match=r"no file gone\.txt"):
        upstream.shipped("gone.txt")
    assert upstream.shipped(VOCABULARY).is_file()


@pytest.mark.parametrize(
    ("backbone", "arch"),
    [
        ("MMDiT", TINY),
        ("DiT", {**TINY, "wings": 2}),
        ("DiT", {**TINY, "dim": "wide"}),
        ("DiT", {**TINY, "dim": 100}),
        ("DiT", {**TINY, "dim": -16}),
        ("DiT", {**TINY, "heads": -1}),
        ("DiT", {**TINY, "qk_norm": "fancy"}),
        ("UNetT", {"dim": 64, "depth": 3, "heads": 2}),
        ("DiT", {**TINY, "attn_backend": "flash_attn"}),
    ],
)
def test_an_architecture_that_upstream_refuses_is_a_checkpoint_error(
    backbone: str, arch: dict[str, Any]
) -> None:
    """Unknown backbones, unknown arguments, impossible sizes, absent kernels."""
    with pytest.raises(CheckpointError):
        upstream.build_model(arch, backbone, upstream.shipped(VOCABULARY))


def test_a_vocabulary_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"vocab\.txt"):
        upstream.build_model(TINY, "DiT", path)


def _vocos(**changes: Any) -> dict[str, Any]:
    config = seeded._vocos_config("seeded-tiny")
    for path, value in changes.items():
        part, key = path.split("__")
        if key == "class_path":
            config[part][key] = value
        else:
            config[part]["init_args"][key] = value
    return config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"head__class_path": "os.system"}, "classes of the vocos package"),
        ({"head__class_path": "vocos.heads.Gone"}, "arguments that vocos accepts"),
        ({"head__class_path": "vocos.gone.Head"}, "arguments that vocos accepts"),
        ({"backbone__wings": 2}, "arguments that vocos accepts"),
        ({"backbone__input_channels": 80}, "80 mel bands every 256"),
        ({"head__hop_length": 320}, "100 mel bands every 320"),
    ],
)
def test_a_foreign_vocoder_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    """Other classes, other arguments, another mel."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(_vocos(**changes)))
    with pytest.raises(CheckpointError, match=sentence):
        upstream.build_vocoder(path)


@pytest.mark.parametrize("content", ["", "[]", "head: 1", "{", "\udcff", "backbone: {class_path: 3}"])
def test_a_vocoder_configuration_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    """Empty, foreign and broken files."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        upstream.build_vocoder(path)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Hi, chat", list("Hi, chat")),
        ("你好", [" ", "ni2", " ", "hao3"]),
        ("Hi 你好", [*"Hi ", " ", "ni2", " ", "hao3"]),
        ("a; “b”", list('a, "b"')),
    ],
)
def test_text_becomes_upstreams_tokens(text: str, tokens: list[str]) -> None:
    """Letters as they are, Chinese as pinyin with tone sandhi, a few marks replaced."""
    assert upstream.tokenize(text) == tokens
    assert [tokens] == upstream.module("f5_tts.model.utils").convert_char_to_pinyin([text])


def test_an_unknown_token_becomes_the_first_one() -> None:
    """As upstream does it: index 0, in silence."""
    assert upstream.token_ids(["a", "☃", "b"], {" ": 0, "a": 1, "b": 2}).tolist() == [[1, 0, 2]]
