"""Files: their digests, writing them whole, the cache folder, and what is fetched from the hub."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from engine.errors import CheckpointError, OfflineError, OutputError

REVISIONS = {
    "SWivid/F5-TTS": "84e5a410d9cead4de2f847e7c9369a6440bdfaca",
    "SWivid/E2-TTS": "98016df3e24487aad803aff506335caba8414195",
    "charactr/vocos-mel-24khz": "0feb3fdd929bcd6649e0e7c5a688cf7dd012ef21",
}
"""The commit of each repository of the hub that is loaded: what is measured today is loaded next year."""
CHECKSUMS = {
    "F5TTS_v1_Base/model_1250000.safetensors": (
        "670900fd14e6c458b95da6e9ed317cdb20dbaf7a1c02ac06a05475a9d32b6a38"
    ),
    "pytorch_model.bin": "97ec976ad1fd67a33ab2682d29c0ac7df85234fae875aefcc5fb215681a91b2a",
}
"""SHA-256 of files of the hub at these commits, held where one is downloaded."""
HUB_SECONDS = 2.5
"""How long the hub has to take a connection before it counts as out of reach."""

SETTLED_NS = 2_000_000_000
"""Age from which a file's times tell its next change: the clocks of file systems are coarse."""
LARGEST_TEXT = 16 << 20
"""Bytes of the largest configuration, manifest or vocabulary that is read."""


def sha256(path: Path) -> str:
    """Hex digest of a file; one that has not changed since it was last asked for is not read again.

    Size, both times and inode tell whether it has. They cannot tell of a file that changed in the last
    moments, so that one is always read.
    """
    state = path.stat()
    known = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) < SETTLED_NS:
        return _digest.__wrapped__(path, known)
    return _digest(path.absolute(), known)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, known: tuple[int, ...]) -> str:
    """Hex digest of a file in a known state."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def small_text(path: Path) -> str:
    """The content of a small text file.

    Raises:
        OSError: it is none, or none of a sensible size.
        UnicodeDecodeError: it is no UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError("no such file")
    if path.stat().st_size > LARGEST_TEXT:
        raise OSError(f"{path.stat().st_size} bytes, where {LARGEST_TEXT} are plenty")
    return path.read_text(encoding="utf8")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` to `path`: a crash at any moment leaves the old file or the new one, never a part.

    What a killed process leaves behind is called `.NAME.*`.

    Raises:
        OutputError: the directory or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)  # gone already when the replace succeeded
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename itself survive a power cut, where the system can open a directory."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path}: {error.strerror or error}", "a writable path", "Free space or choose another directory"
    )


def cache() -> Path:
    """Where generated files lie: `$XDG_CACHE_HOME/ishowtts`, else `~/.cache/ishowtts`.

    Raises:
        CheckpointError: neither names a folder, as for a user without a home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ishowtts"
    except RuntimeError as error:
        raise CheckpointError(
            f"no home folder ({error})", "a folder to keep generated files in", "Set XDG_CACHE_HOME"
        ) from error


def writable_cache(name: str = "") -> Path:
    """A folder of the cache that is there and takes files.

    Raises:
        CheckpointError: it cannot be made or written.
    """
    folder = cache() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError("not writable")
    except OSError as error:
        raise CheckpointError(
            f"cache {folder} ({error})", "a writable folder with room", "Set XDG_CACHE_HOME"
        ) from error
    return folder


def download(repository: str, file: str, then: str, wanted: str = "") -> Path:
    """A file of the hub at its pinned commit, from the local cache where it is there; `then` says what to do
    with a copy fetched by hand, of this file or of all `wanted`.

    Raises:
        OfflineError: it is not in the cache and the hub is out of reach.
        CheckpointError: what the hub gave is not the file that is pinned.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    revision = REVISIONS[repository]
    kept = try_to_load_from_cache(repository, file, revision=revision)
    if isinstance(kept, str):
        return Path(kept)
    try:
        if not _hub_answers():
            raise ConnectionError("no connection")
        path = Path(hf_hub_download(repository, file, revision=revision))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise OfflineError(
            f"{file} of {repository} at {revision[:7]} is not here and the hub did not give it "
            f"({type(error).__name__})",
            "the file in the local cache, or a reachable hub",
            f"On a machine with network run `hf download {repository} {wanted or file} --revision {revision} "
            f"--local-dir DIR`; then {then}",
        ) from error
    expected = CHECKSUMS.get(file)
    if expected is not None and sha256(path) != expected:
        raise CheckpointError(
            f"{path} with SHA-256 {sha256(path)}", f"SHA-256 {expected}", "Delete it and load again"
        )
    return path


def _hub_answers() -> bool:
    """Whether the hub takes a connection soon; where a proxy stands before it, nobody knows.

    The hub's own client tries for half a minute.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or urllib.request.getproxies():
        return not constants.HF_HUB_OFFLINE
    hub = urllib.parse.urlsplit(constants.ENDPOINT)
    answers = threading.Event()

    def knock() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((hub.hostname or "", hub.port or 443), HUB_SECONDS).close()
            answers.set()

    # In a thread of its own: looking up a name knows no time limit.
    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    knocking.join(HUB_SECONDS)
    return answers.is_set()
