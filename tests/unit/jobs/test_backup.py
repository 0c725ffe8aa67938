"""An installation as one archive: whole, checked, and never written where it must not be."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Voice, cli
from engine.errors import EngineError, OutputError, ReferenceClipError, UsageError
from engine.jobs import archive
from engine.jobs.archive import ArchiveError
from engine.jobs.contents import Sources, collect, tomllib

CONFIGURATION = """\
# What this service speaks.
port = 8001  # not the usual one
voice = "me"
api_key = "0123456789abcdef"

[voices.me]
clip = "{clip}"  # recorded at home
text = "Some call me nature,"

[voices."someone else"]
text = 'clip = "{clip}"'
clip = 'clips/other.wav'
"""


@pytest.fixture
def installation(tmp_path: Path, clip: Path) -> Path:
    """A folder with a configuration, two voices, one of them elsewhere, baselines and records."""
    home = tmp_path / "home"
    (home / "clips").mkdir(parents=True)
    (home / "baselines" / "runs").mkdir(parents=True)
    (home / "build" / "records").mkdir(parents=True)
    shutil.copy(clip, home / "clips" / "other.wav")
    (home / "ishowtts.toml").write_text(CONFIGURATION.format(clip=clip), encoding="utf8")
    (home / "baselines" / "portable.json").write_text("{}")
    (home / "baselines" / "runs" / "run.json").write_text("[1]")
    (home / "build" / "records" / "run.json").write_text("[2]")
    return home


def sources(home: Path) -> Sources:
    """All of an installation."""
    return Sources(home / "ishowtts.toml", home / "baselines", home / "build" / "records")


def pack(path: Path, held: dict[str, bytes], **manifest: Any) -> Path:
    """An archive as somebody else might write it; entries and manifest need not agree."""
    named = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in held.items()
    }
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps({"format": 1, "entries": named, **manifest}))
        for name, content in held.items():
            file.writestr(name, content)
    return path


def test_a_restored_voice_gives_the_same_audio(installation: Path, tmp_path: Path, engine: Engine) -> None:
    """The clip where the restored configuration says, with its transcript: the same bytes of speech."""
    path, fresh = tmp_path / "all.zip", tmp_path / "fresh"

    def spoken(folder: Path) -> bytes:
        voice = tomllib.loads((folder / "ishowtts.toml").read_text())["voices"]["me"]
        return engine.synthesize("Hello.", Voice(folder / voice["clip"], voice["text"]), seed=5).encode("wav")

    before = spoken(installation)
    archive.write(path, collect(sources(installation)), "1")
    archive.restore(path, fresh)
    shutil.rmtree(installation)
    assert spoken(fresh) == before


def test_everything_comes_back_and_only_the_clips_places_change(
    installation: Path, tmp_path: Path, clip: Path
) -> None:
    """Comments, order and every other value of the configuration stay; it and the archive are private."""
    path, fresh = tmp_path / "all.zip", tmp_path / "deep" / "fresh"
    contents = collect(sources(installation))
    archive.write(path, contents, "1")
    assert sorted(archive.restore(path, fresh)) == sorted(contents)
    expected = CONFIGURATION.format(clip=clip)
    expected = expected.replace(f'clip = "{clip}"  #', 'clip = "voices/me.wav"  #')
    expected = expected.replace("'clips/other.wav'", '"voices/someone_else.wav"')
    assert (fresh / "ishowtts.toml").read_text() == expected
    assert (fresh / "voices" / "me.wav").read_bytes() == clip.read_bytes()
    assert (fresh / "voices" / "someone_else.wav").read_bytes() == clip.read_bytes()
    assert (fresh / "baselines" / "runs" / "run.json").read_text() == "[1]"
    assert (fresh / "records" / "run.json").read_text() == "[2]"
    assert (
        stat.S_IMODE((fresh / "ishowtts.toml").stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600
    )
    again = tmp_path / "again.zip"
    archive.write(
        again, collect(Sources(fresh / "ishowtts.toml", fresh / "baselines", fresh / "records")), "1"
    )
    assert again.read_bytes() == path.read_bytes(), "a backup of what was restored is the backup"


def test_a_damaged_byte_anywhere_writes_nothing(installation: Path, tmp_path: Path) -> None:
    """Wherever a byte is hit: an error, or, in what says nothing, everything as it was; never a part."""
    path, broken, fresh = tmp_path / "all.zip", tmp_path / "broken.zip", tmp_path / "fresh"
    contents = collect(Sources(None, installation / "baselines", None))
    archive.write(path, contents, "1")
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            archive.restore(broken, fresh)
        except EngineError:
            refused += 1
            assert not fresh.exists()
        else:
            assert {name: (fresh / name).read_bytes() for name in contents} == contents
            shutil.rmtree(fresh)
        assert {entry.name for entry in tmp_path.iterdir()} == {"all.zip", "broken.zip", "home"}
    assert refused > len(whole) // 6
    for length in range(0, len(whole), 7):
        broken.write_bytes(whole[:length])
        with pytest.raises(EngineError):
            archive.restore(broken, fresh)
    assert not fresh.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    """Paths out of the folder, two entries for one place, what the manifest does not name, other formats."""
    path, fresh = tmp_path / "a.zip", tmp_path / "fresh"
    for name in ("../a", "a/../../b", "/a", "a//b", "./a", "a\\b", "C:a", "a/", "a\x00b", "a\nb", ".."):
        with pytest.raises((ArchiveError, UsageError)):
            archive.restore(pack(path, {name: b"x"}), fresh)
    makers: tuple[Callable[[], Path], ...] = (
        lambda: pack(path, {"a": b"x", "A": b"y"}),
        lambda: pack(path, {"a": b"x", "a/b": b"y"}),
        lambda: pack(path, {"a": b"x"}, format=2),
        lambda: pack(path, {"a": b"x"}, entries={}),
        lambda: pack(path, {"a": b"x"}, entries=[1]),
        lambda: pack(path, {"a": b"x"}, entries={"a": {"sha256": "0", "bytes": 1}}),
        lambda: pack(path, {"a": b"x"}, entries={"a": {"sha256": "0", "bytes": -2}}),
        lambda: pack(path, {"a": b"x"}, entries={"a": {"sha256": "0", "bytes": 1 << 40}}),
        lambda: pack(path, {}, entries={"a": {"sha256": "0", "bytes": 1}}),
        lambda: pack(path, {"manifest.json": b"{}"}),
    )
    for maker in makers:
        with pytest.raises(ArchiveError):
            archive.restore(maker(), fresh)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "x")
    with pytest.raises(ArchiveError, match=r"no manifest\.json"):
        archive.restore(path, fresh)
    assert not fresh.exists()


def test_only_an_empty_folder_takes_a_restore(installation: Path, tmp_path: Path) -> None:
    """What lies in a folder is never mixed with a backup; no archive is another error."""
    path = tmp_path / "all.zip"
    archive.write(path, collect(sources(installation)), "1")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    with pytest.raises(UsageError, match="which holds"):
        archive.restore(path, installation)
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="which is no folder"):
            archive.restore(path, tmp_path / name)
    with pytest.raises(UsageError, match=r"gone\.zip"):
        archive.restore(tmp_path / "gone.zip", tmp_path / "fresh")
    with pytest.raises(ArchiveError, match="not a zip"):
        archive.restore(tmp_path / "file", tmp_path / "fresh")
    archive.restore(path, tmp_path / "empty")
    assert (tmp_path / "empty" / "ishowtts.toml").is_file()


def test_a_full_disk_leaves_nothing_behind(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a part of an archive nor a part of a folder."""
    path, fresh = tmp_path / "all.zip", tmp_path / "fresh"
    contents = collect(sources(installation))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            archive.write(path, contents, "1")
    archive.write(path, contents, "1")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            archive.restore(path, fresh)
    assert {entry.name for entry in tmp_path.iterdir()} == {"all.zip", "home"}
    with pytest.raises(UsageError, match="which is there"):
        archive.write(path, contents, "1")


def test_what_cannot_be_packed_is_one_sentence(installation: Path, tmp_path: Path) -> None:
    """A clip that is gone, no TOML, a folder that is none, nothing at all."""
    written = installation / "ishowtts.toml"
    with pytest.raises(UsageError, match="nothing to back up"):
        collect(Sources(None, None, None))
    with pytest.raises(UsageError, match="no such folder"):
        collect(Sources(None, installation / "gone", None))
    (installation / "clips" / "other.wav").unlink()
    with pytest.raises(ReferenceClipError, match=r"other\.wav"):
        collect(sources(installation))
    for content, sentence in (("port = ", "configuration"), ("\xff", "configuration")):
        written.write_text(content, encoding="latin1")
        with pytest.raises(UsageError, match=sentence):
            collect(sources(installation))
    written.write_text('voices = {me = {text = "x", "cl\\u0069p" = "baselines/portable.json"}}')
    with pytest.raises(UsageError, match="in an unusual way"):
        collect(sources(installation))


def test_the_commands_pack_and_unpack(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What lies in the current folder is found by itself; each command says how much it was."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ishowtts", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed, said = capfd.readouterr()
        return int(exit_.value.code or 0), printed + said

    monkeypatch.chdir(installation)
    code, said = run("backup", "../all.zip")
    assert code == 0
    assert "6 files" in said
    assert "ishowtts.toml 1, voices 2, baselines 2, records 1" in said
    assert "may hold a key" in said
    assert run("restore", "../all.zip", "--into", "../fresh") == (
        0,
        "../fresh: 6 files, every checksum right; baselines 2, ishowtts.toml 1, records 1, voices 2\n",
    )
    code, said = run("restore", "../all.zip", "--into", "../fresh")
    assert code == 2
    assert "which holds" in said
