"""The hub path, up to the network's edge."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from engine.checkpoint import HUB
from engine.files import REVISIONS
from engine.voices import seeded

SPEAK = [sys.executable, "-c", "from engine.cli import main; main()", "speak", "Hello.", "--device", "cpu"]


def offline(home: Path) -> dict[str, str]:
    """An environment in which the hub is switched off and its cache is `home`."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}


def snapshot(home: Path, repository: str, file: str, source: Path) -> None:
    """Put a file where `huggingface_hub` keeps it."""
    base = home / "hub" / f"models--{repository.replace('/', '--')}"
    target = base / "snapshots" / REVISIONS[repository] / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


@pytest.mark.parametrize("name", ["F5TTS_v1_Base", "E2TTS_Base"])
def test_a_published_model_that_is_not_here_is_one_clear_error(tmp_path: Path, name: str) -> None:
    """What to download, with which command, and where to put it; exit 2, no traceback, nothing written."""
    out = tmp_path / "out.wav"
    done = subprocess.run(
        [*SPEAK, "-o", str(out), "--checkpoint", name],
        env=offline(tmp_path / "hub"), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    repository, file = HUB[name]
    assert done.returncode == 2
    assert f"hf download {repository} {file}" in done.stderr
    assert f"{name}.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_a_cached_model_speaks_without_the_hub(tiny_folder: Path, tmp_path: Path) -> None:
    """Files in the hub's own cache layout load and speak; the shipped configuration is replaced by the tiny
    one."""
    home, shipped = tmp_path / "hub", tmp_path / "configs"
    repository, file = HUB["F5TTS_v1_Base"]
    snapshot(home, repository, file, tiny_folder / "model.safetensors")
    for part in ("config.yaml", "pytorch_model.bin"):
        snapshot(home, "charactr/vocos-mel-24khz", part, tiny_folder / "vocos" / part)
    shipped.mkdir()
    config = yaml.safe_load((tiny_folder / "config.yaml").read_text())
    (shipped / "tiny.yaml").write_text(yaml.safe_dump(config))
    code = (
        "import json, sys; from pathlib import Path; from engine import upstream, load, Options\n"
        "real = upstream.shipped\n"
        f"tiny = Path({str(shipped / 'tiny.yaml')!r})\n"
        "upstream.shipped = lambda name: tiny if name.startswith('configs/') else real(name)\n"
        "tts = load('F5TTS_v1_Base', Options(nfe=1), device='cpu')\n"
        "print(json.dumps([tts.synthesize('Hello.').seconds, tts.checkpoint.trained]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=offline(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    seconds, trained = json.loads(done.stdout.splitlines()[-1])
    assert seconds > 0
    assert trained is True


def test_the_cure_works(tiny_folder: Path, tmp_path: Path) -> None:
    """What the error says to do - weight file, config.yaml beside it, a vocoder folder - gives speech."""
    from engine import Options
    from engine.loading import load

    weights = tmp_path / "F5TTS_v1_Base/model_1250000.safetensors"
    weights.parent.mkdir()
    shutil.copy(tiny_folder / "model.safetensors", weights)
    shutil.copy(tiny_folder / "config.yaml", weights.parent / "config.yaml")
    one = load(weights, Options(nfe=1), device="cpu", vocoder=seeded.ensure("seeded-tiny") / "vocos")
    assert one.synthesize("Hello.").seconds > 0
