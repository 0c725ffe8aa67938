"""What goes into a backup: the configuration with its clips beside it, baselines, and records."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path, PurePath
from typing import Any

from engine import recording
from engine.errors import UsageError
from engine.files import LARGEST_TEXT, small_text
from engine.jobs.archive import CONFIGURATION

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where the parts of a backup lie; a part that is none is left out."""

    configuration: Path | None
    baselines: Path | None
    records: Path | None


def collect(sources: Sources) -> dict[str, bytes]:
    """The content of every file of a backup, by its path in there.

    Raises:
        UsageError: nothing to back up, or a part that cannot be read.
        ReferenceClipError: the clip of a voice is missing, or no clip.
    """
    contents = {} if sources.configuration is None else configuration(sources.configuration)
    for name, folder in (("baselines", sources.baselines), ("records", sources.records)):
        if folder is not None:
            contents |= _folder(folder, name)
    if not contents:
        raise UsageError(
            "nothing to back up",
            f"{CONFIGURATION}, a folder of baselines, or records",
            "Run it where they lie, or name them by --config, --baselines and --records",
        )
    return contents


def configuration(path: Path) -> dict[str, bytes]:
    """A configuration and the clips that it names, each at `voices/NAME.SUFFIX`, where the copy looks for it.

    Raises:
        UsageError: no TOML, or a clip whose place in it cannot be changed.
        ReferenceClipError: a clip is missing, or no clip.
    """
    text = _text(path)
    content = _parsed(text, path)
    contents: dict[str, bytes] = {}
    for name, voice in _voices(content).items():
        clip = path.parent / voice["clip"]
        place = f"voices/{_file_name(name, contents)}{PurePath(voice['clip']).suffix}"
        contents[place] = recording.content(clip)
        if voice["clip"] != place:
            text = _moved(text, name, voice["clip"], place, path)
    return {CONFIGURATION: text.encode(), **contents}


def _text(path: Path) -> str:
    try:
        return small_text(path)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8
        raise UsageError(
            f"configuration {path} ({error})",
            f"a TOML file of at most {LARGEST_TEXT >> 20} MiB that can be read",
            "Check the path",
        ) from error


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"configuration {path} ({error})", "a TOML file", "Correct it") from error


def _voices(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The voices that have a clip."""
    voices = content.get("voices")
    return {
        name: voice
        for name, voice in (voices.items() if isinstance(voices, dict) else ())
        if isinstance(voice, dict) and isinstance(voice.get("clip"), str)
    }


def _file_name(name: str, taken: dict[str, bytes]) -> str:
    """A voice's name as that of a file, and of no other voice's."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "voice"
    stems = {PurePath(place).stem.casefold() for place in taken}
    number = 1
    while (candidate := plain if number == 1 else f"{plain}-{number}").casefold() in stems:
        number += 1
    return candidate


def _moved(text: str, name: str, clip: str, place: str, path: Path) -> str:
    """The configuration with this voice's clip at another place and nothing else changed.

    Comments and order stay: the string is replaced where it stands, and what comes out is parsed to see that
    it is this voice's and no other.
    """
    wanted = _parsed(text, path)
    wanted["voices"][name]["clip"] = place
    for spelled in re.finditer(r"""\bclip["']?\s*=\s*("(?:[^"\\\n]|\\.)*"|'[^'\n]*')""", text):
        changed = f'{text[: spelled.start(1)]}"{place}"{text[spelled.end(1) :]}'
        try:
            if tomllib.loads(changed) == wanted:
                return changed
        except tomllib.TOMLDecodeError:  # what looked like a clip is something else
            continue
    raise UsageError(
        f"configuration {path} that spells the clip {clip!r} of the voice {name!r} in an unusual way",
        'a line such as clip = "me.wav"',
        "Write it so",
    )


def _folder(folder: Path, name: str) -> dict[str, bytes]:
    """Every file in a folder, by its path below `name`."""
    try:
        if not folder.is_dir():
            raise NotADirectoryError("no such folder")
        files = sorted(path for path in folder.rglob("*") if not path.is_dir())
        return {f"{name}/{file.relative_to(folder).as_posix()}": _bytes(file) for file in files}
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} ({error})", "a folder of files that can be read", "Check it") from error


def _bytes(file: Path) -> bytes:
    if not file.is_file():
        raise OSError(f"{file} is no file")
    return file.read_bytes()
