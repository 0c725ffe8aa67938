"""The service's configuration: three layers, and one sentence for whatever does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine import cli
from engine.errors import UsageError
from engine.options import Options
from engine.serve.config import Config, read

KEY = "k" * 16


def write(folder: Path, content: str) -> Path:
    """A configuration file."""
    path = folder / "ishowtts.toml"
    path.write_text(content, encoding="utf8")
    return path


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field by field, and toggle by toggle."""
    path = write(
        tmp_path,
        'port = 1\nqueue = 11\nbatch = 2\npreset = "reference"\n[toggles]\nnfe = 5\nhoist = false\n',
    )
    monkeypatch.setenv("ISHOWTTS_SERVE_PORT", "2")
    monkeypatch.setenv("ISHOWTTS_SERVE_QUEUE", "22")
    config = read(path, {"port": 3, "toggles": {"hoist": True}})
    assert (config.port, config.queue, config.batch) == (3, 22, 2)
    assert config.options == Options(hoist=True, nfe=5, batch=2)


def test_the_defaults_are_safe() -> None:
    """This machine alone, no uploads, bounded in everything."""
    config = read(None, {})
    assert config.host == "127.0.0.1"
    assert config.is_local
    assert not config.uploads
    assert config.options.batch == config.batch


def test_voices_lie_beside_the_file(tmp_path: Path) -> None:
    """A relative clip is one of the file's folder, wherever the service is started."""
    path = write(tmp_path, '[voices.me]\nclip = "me.wav"\ntext = "This is me."\n')
    assert read(path, {}).voices["me"].clip == tmp_path / "me.wav"


def test_what_does_not_fit_is_named_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typos, values out of range, toggles that conflict, files that are none."""
    cases = {
        "prot = 1": "configuration prot in .*Extra inputs are not permitted",
        "port = 70000": "configuration port='70000' in .*less than or equal to 65535",
        'overload = "cry"': "configuration overload='cry'",
        "[toggles]\nspeed = 3": "toggles .option 'speed=3'.: expected name=value",
        "[toggles]\nnfe = 8\nschedule = 'epss'": "schedule=epss.*expected steps in",
        "preset = 'warp'": "preset 'warp'",
        "port = ": "configuration .*ishowtts.toml",
        "[voices.me]\nclip = 'me.wav'": "configuration voices.me.text in .*Field required",
        "api_key = 'short'": "an API key has 16 ASCII characters at least",
        "batch = true\nqueue = 'x'": "configuration queue='x'",
    }
    for content, sentence in cases.items():
        with pytest.raises(UsageError, match=sentence):
            read(write(tmp_path, content), {})
    with pytest.raises(UsageError, match=r"nowhere.toml .*expected a TOML file"):
        read(tmp_path / "nowhere.toml", {})
    monkeypatch.setenv("ISHOWTTS_SERVE_PROT", "1")
    with pytest.raises(UsageError, match="environment variable ISHOWTTS_SERVE_PROT"):
        read(None, {})


def test_others_reach_the_service_with_a_key_only() -> None:
    """Unless somebody says that this is meant."""
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"):
        with pytest.raises(UsageError, match="without an API key"):
            read(None, {"host": host})
        assert read(None, {"host": host, "insecure": True}).insecure
        assert read(None, {"host": host, "api_key": KEY}).api_key is not None
    for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"):
        assert read(None, {"host": host}).is_local


def test_the_key_is_shown_to_nobody() -> None:
    """Not by --print-config, and not by repr."""
    config = Config(api_key=KEY)
    assert KEY not in config.shown() + repr(config) + str(config.model_dump())


def test_print_config_shows_what_results(tmp_path: Path) -> None:
    """As JSON, and nothing is served; a mistake is one sentence."""
    path = write(tmp_path, "queue = 9\n")
    run: Any = CliRunner().invoke(cli.app, ["serve", "--config", str(path), "--nfe", "5", "--print-config"])
    assert run.exit_code == 0, run.output
    shown = json.loads(run.output)
    assert (shown["queue"], shown["toggles"]["nfe"], shown["batch"]) == (9, 5, 4)
    batch: Any = CliRunner().invoke(cli.app, ["serve", "--batch", "3", "--print-config"])
    assert json.loads(batch.output)["batch"] == 3
    with pytest.raises(UsageError, match="queue='0'"):
        CliRunner().invoke(cli.app, ["serve", "--queue", "0"], catch_exceptions=False)
