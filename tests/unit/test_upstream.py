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
        ("DiT", {**TINY, "attn_backend": "nonsense"}),
        ("DiT", {**TINY, "depth": 10**9}),
        ("DiT", {**TINY, "dim": {"a": 1}}),
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
        ({"head__class_path": "os.system"}, "vocos.heads.ISTFTHead, and nothing else"),
        ({"head__class_path": "vocos.heads.IMDCTSymExpHead"}, "vocos.heads.ISTFTHead, and nothing else"),
        ({"feature_extractor__class_path": "vocos.feature_extractors.EncodecFeatures"}, "and nothing else"),
        ({"backbone__dim": 10**9}, "dim=1000000000"),
        ({"backbone__dim": [64]}, r"dim=\[64\]"),
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


@pytest.mark.parametrize(
    "path", ["vocos.pretrained.instantiate_class", "vocos.pretrained.Vocos", "builtins.exec"]
)
@pytest.mark.parametrize("part", ["feature_extractor", "backbone", "head"])
def test_a_vocoder_that_would_run_a_command_is_refused_and_does_not(
    tmp_path: Path, path: str, part: str
) -> None:
    """Vocos instantiates what its configuration names, and its own helper goes on to anything else."""
    marker = tmp_path / "ran"
    config = _vocos()
    config[part] = {
        "class_path": path,
        "init_args": {"args": f"touch {marker}", "init": {"class_path": "os.system"}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(CheckpointError, match="and nothing else"):
        upstream.build_vocoder(tmp_path / "config.yaml")
    assert not marker.exists()


IMPORTING = """
import sys
from engine import upstream
upstream.module("f5_tts.model"); upstream.module("vocos.pretrained")
heavy = {"einx", "encodec", "pypinyin", "librosa.filters", "scipy.integrate", "torch._dynamo", "wandb"}
print(sorted(heavy & set(sys.modules)))
from f5_tts.model.utils import convert_char_to_pinyin
print(convert_char_to_pinyin(["\u4f60\u597d"]))
import pypinyin, librosa.filters, scipy.integrate, f5_tts.model.modules as modules
print(pypinyin.lazy_pinyin("\u597d"), modules.librosa_mel_fn(sr=24000, n_fft=1024, n_mels=2).shape)
print(type(pypinyin.Style).__name__, callable(scipy.integrate.solve_ivp))
"""


def test_upstream_is_imported_without_what_nobody_calls_and_is_whole_for_others() -> None:
    """In a fresh process: seconds are saved, and what upstream took calls the real thing."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=True)
    heavy, tokens, whole, style = done.stdout.splitlines()[-4:]
    assert heavy == "[]"
    assert tokens == "[[' ', 'ni2', ' ', 'hao3']]"
    assert whole == "['hao'] (2, 513)"
    assert style == "EnumMeta True" or style == "EnumType True"


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
