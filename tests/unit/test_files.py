"""Digests that are not worked out twice, and never out of date."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from engine import files


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened for reading."""
    opened: list[Path] = []
    plain = Path.open

    def noted(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        opened.extend([path] * (mode == "rb"))
        return plain(path, mode, *arguments, **named)

    monkeypatch.setattr(Path, "open", noted)
    return opened


def settled(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file that was written long ago, as far as the clock says; its digest."""
    path.write_bytes(content)
    now = path.stat().st_ctime_ns + 2 * files.SETTLED_NS
    monkeypatch.setattr(files.time, "time_ns", lambda: now)
    return hashlib.sha256(content).hexdigest()


def test_a_settled_file_is_read_once(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gigabytes of weights are asked for by whoever verifies them and by whoever records them."""
    path = tmp_path / "weights"
    expected = settled(path, b"one", monkeypatch)
    assert [files.sha256(path) for _ in range(3)] == [expected] * 3
    assert reads.count(path) == 1


def test_other_content_of_the_same_size_and_age_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets a file's time back cannot set back when it was changed."""
    path = tmp_path / "weights"
    settled(path, b"one", monkeypatch)
    before = path.stat()
    assert files.sha256(path) == hashlib.sha256(b"one").hexdigest()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # clocks of file systems are coarse
        path.write_bytes(b"two")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert files.sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_changed_just_now_is_read_every_time(tmp_path: Path, reads: list[Path]) -> None:
    """Its times do not tell a second change from the first."""
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    for _ in range(2):
        files.sha256(path)
    assert reads.count(path) == 2
