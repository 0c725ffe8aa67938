"""What an installation cannot get back by installing again, as one archive: configuration, voices, baselines
and records.

The archive is a ZIP. Its first entry, `manifest.json`, names every other one with its SHA-256 and its size.
The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import struct
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import EngineError, OutputError, UsageError
from engine.files import sync_directory

FORMAT = 1
MANIFEST = "manifest.json"
CONFIGURATION = "ishowtts.toml"
MAX_BYTES = 4 << 30
"""Of an archive's content: one that claims more is refused unread."""
MAX_MANIFEST = 16 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of each entry: the earliest that a ZIP can hold."""

DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError, ValueError
)  # fmt: skip
"""What the readers of a ZIP raise for one that is damaged."""


class ArchiveError(EngineError):
    """An archive is damaged, foreign, or would write where it must not."""


def write(path: Path, contents: Mapping[str, bytes], version: str) -> None:
    """Write an archive, whole or not at all, for its owner alone: a configuration may hold a key.

    Args:
        path: of the archive, which must not be there.
        contents: by path in the archive.
        version: of this package, for whoever reads the manifest.

    Raises:
        UsageError: there is such a file already.
        OutputError: it cannot be written.
    """
    if path.exists():
        raise UsageError(f"{path}, which is there", "a new file", "Choose another name, or move it away")
    entries = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in sorted(contents.items())
    }
    manifest = {"format": FORMAT, "ishowtts": version, "entries": entries}
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        handle = os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(_entry(MANIFEST), json.dumps(manifest, indent=1))
                for name in entries:
                    archive.writestr(_entry(name), contents[name])
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
        sync_directory(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise OutputError(f"{path} ({error})", "a file that can be written", "Choose another one") from error
    finally:
        scratch.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o600) << 16
    return entry


def restore(path: Path, folder: Path) -> list[str]:
    """Unpack an archive into a folder that is empty or not there; what it names is checked before.

    Returns:
        The paths that were written, relative to the folder.

    Raises:
        UsageError: no such archive, or a folder that holds something.
        ArchiveError: damaged, foreign, or with a path that leads out of the folder.
        OutputError: the folder cannot be written.
    """
    _check_empty(folder)
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} ({error})", "an archive that can be read", "Check the path") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
            entries = _entries(archive, path)
            for name in entries:
                _content(archive, name, entries[name], path)
        except DAMAGE as error:
            raise _damaged(path, str(error)) from error
        _unpack(archive, entries, path, folder)
    return list(entries)


def _check_empty(folder: Path) -> None:
    """Refuse a folder that holds something, or that is none."""
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise OutputError(f"{folder}, which is no folder", "an empty folder", "Choose another one")
        held = next(folder.iterdir(), None) if folder.exists() else None
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder} ({error})", "an empty folder", "Choose another one") from error
    if held is not None:
        raise UsageError(
            f"{folder}, which holds {held.name}", "an empty folder, or none", "Choose another one"
        )


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, dict[str, Any]]:
    """What the manifest names, which is exactly what the archive holds, each where it may be.

    Raises:
        ArchiveError: anything else.
    """
    held = [entry.filename for entry in archive.infolist()]
    if MANIFEST not in held or archive.getinfo(MANIFEST).file_size > MAX_MANIFEST:
        raise _damaged(path, f"no {MANIFEST}")
    try:
        manifest = json.loads(archive.read(MANIFEST))
        version = manifest["format"]
        entries = {str(name): dict(facts) for name, facts in manifest["entries"].items()}
        total = sum(int(facts["bytes"]) for facts in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"{MANIFEST}: {type(error).__name__} {error}") from error
    if version != FORMAT:
        raise ArchiveError(
            f"{path} of format {version!r:.20}", f"format {FORMAT}", "Use the release that wrote it"
        )
    if sorted(held) != sorted([MANIFEST, *entries]):
        strange = sorted(set(held) ^ {MANIFEST, *entries}) or ["the same entry twice"]
        raise _damaged(path, f"{strange[0]!r:.120} is not both in the archive and in its manifest")
    if total > MAX_BYTES:
        raise _damaged(path, f"{total} bytes")
    _check_paths(entries, path)
    return entries


def _check_paths(names: Mapping[str, Any], path: Path) -> None:
    """Refuse what would be written outside of the folder, or over something else in it."""
    seen: set[str] = set()
    for name in names:
        parts = name.split("/")
        if not all(re.fullmatch(r"[^\\:\x00-\x1f\x7f]+", part) and part not in (".", "..") for part in parts):
            raise ArchiveError(
                f"{path} with the path {name!r:.120}", "paths inside of the folder", "Do not use this archive"
            )
        seen.add(name.casefold())
    parents = {str(parent).casefold() for name in names for parent in PurePosixPath(name).parents}
    if len(seen) < len(names) or seen & parents:
        raise _damaged(path, "two entries want the same place")


def _content(archive: zipfile.ZipFile, name: str, facts: Mapping[str, Any], path: Path) -> bytes:
    """The bytes of an entry, which are those of the manifest."""
    size = int(facts["bytes"])
    with archive.open(name) as entry:
        content = entry.read(size + 1)  # no more, whatever the archive says of itself
    if len(content) != size or hashlib.sha256(content).hexdigest() != facts.get("sha256"):
        raise _damaged(path, f"{name} is not what its checksum names")
    return content


def _unpack(
    archive: zipfile.ZipFile, entries: Mapping[str, dict[str, Any]], path: Path, folder: Path
) -> None:
    """Write all of it beside the folder, and let that take its place."""
    target = folder.resolve()
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        scratch.mkdir(parents=True, mode=0o755)
        for name, facts in entries.items():
            file = scratch / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as opened:
                opened.write(_content(archive, name, facts, path))
                opened.flush()
                os.fsync(opened.fileno())
            if name == CONFIGURATION:
                file.chmod(0o600)  # it may hold a key
        for parent in (scratch, *(place for place in scratch.rglob("*") if place.is_dir())):
            sync_directory(parent)
        scratch.replace(target)  # over an empty folder, or none
        sync_directory(target.parent)
    except OSError as error:
        raise OutputError(
            f"{folder} ({error.strerror or error})", "an empty folder beside which there is room",
            "Choose another one",
        ) from error  # fmt: skip
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _damaged(path: Path, reason: str) -> ArchiveError:
    return ArchiveError(f"{path} ({reason})", "an archive as `ishowtts backup` writes it", "Use another copy")
