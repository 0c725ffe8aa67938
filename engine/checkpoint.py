"""Find and verify weights, vocabularies and vocoders.

A checkpoint is a folder: `config.yaml` in the shape of upstream's configurations, `model.safetensors` (or
`.pt`) with upstream's `ema_model.` keys, `vocos/config.yaml` and `vocos/pytorch_model.bin`, and a
`voice.json` with checksums, languages and reference clips. Names of the hub give the same parts from
elsewhere.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import level, upstream
from engine.errors import CheckpointError
from engine.files import download, sha256, small_text
from engine.reference import Voice

DEFAULT_CHECKPOINT = "box"
VOICES = Path(__file__).parent / "voices"

HUB = {
    "F5TTS_v1_Base": ("SWivid/F5-TTS", "F5TTS_v1_Base/model_1250000.safetensors"),
    "F5TTS_Base": ("SWivid/F5-TTS", "F5TTS_Base/model_1200000.safetensors"),
    "E2TTS_Base": ("SWivid/E2-TTS", "E2TTS_Base/model_1200000.safetensors"),
}
"""Repository and file of each published model, as upstream's `F5TTS` picks them."""
HUB_LANGUAGES = ("en", "zh")
HUB_VOCODER = ("charactr/vocos-mel-24khz", ("config.yaml", "pytorch_model.bin"))
EXAMPLE_CLIP = ("infer/examples/basic/basic_ref_en.wav", "Some call me nature, others call me mother nature.")
"""A clip inside the f5-tts package and what it says (its `basic.toml`): the default voice where a folder has
none."""
LONGEST = 87.0
"""Seconds of upstream's 8,192 positions of text: no sequence can be longer."""
SHORTEST = 6.0
"""Seconds of the shortest longest sequence that leaves room for a clip and words."""
WEIGHTS = ("model.safetensors", "model.pt", "model_last.safetensors", "model_last.pt")
"""Names of weights in a folder, the first that is there; else `model_STEP`, the highest step."""
MAX_SECONDS = 22.0
"""Longest reference plus generated piece; upstream's `infer_process` splits text so that it is not passed."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Everything needed to build an engine, verified to exist.

    Attributes:
        name: as asked for.
        backbone, arch: `DiT` or `UNetT`, and its keyword arguments.
        weights, vocabulary: files; the weights in safetensors or `torch.save` format.
        vocoder: folder with `config.yaml` and `pytorch_model.bin`.
        trained: false for seeded weights, whose speech is noise.
        languages: what it speaks, as ISO 639-1 codes; empty where unknown.
        references: named clips that come with it; the first is the default.
        durations: table for the text front end, or none.
        max_seconds: longest reference plus generated piece.
        level: correction of the level of its speech, or none.
        reading: how it reads texts unless it is told otherwise: `raw` or `chat`.
    """

    name: str
    backbone: str
    arch: dict[str, Any]
    weights: Path
    vocabulary: Path
    vocoder: Path
    trained: bool
    languages: tuple[str, ...]
    references: dict[str, Voice]
    durations: Path | None = None
    max_seconds: float = MAX_SECONDS
    level: level.Level | None = None
    reading: str = "raw"

    def digest(self) -> str:
        """SHA-256 over weights and vocoder: what a measurement is pinned to."""
        return "+".join(sha256(path)[:16] for path in (self.weights, self.vocoder / "pytorch_model.bin"))


def find(name: str | Path, *, vocoder: str | Path | None = None) -> Checkpoint:
    """The checkpoint called `name`: a voice in the box, a seeded one, a published model, a folder or a weight
    file.

    Args:
        name: see `known()`; anything else is taken for a path. Beside a weight file lies its `config.yaml`.
        vocoder: a folder with a Vocos, where it does not come with the checkpoint.

    Raises:
        CheckpointError: unknown name, missing part, or a file that is not the one its checksum names.
        OfflineError: a published model is not in the local cache and the hub cannot be reached.
    """
    key = str(name)
    if not key.strip():
        raise CheckpointError(
            f"checkpoint {key!r}", f"one of {', '.join(known())}, a folder or a weight file", "Name one"
        )
    if key in HUB:
        return _from_hub(key, vocoder)
    try:
        folder = _place(key)
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {key[:200]!r} ({error.strerror})", "a path that can be read", "Check it"
        ) from error
    if is_folder:
        return _from_folder(key, folder, vocoder)
    if is_file:
        return _from_file(folder, vocoder)
    raise CheckpointError(
        f"checkpoint {key!r}",
        f"one of {', '.join(known())}, a folder or a weight file",
        "Check the name or path",
    )


def _place(key: str) -> Path:
    """Where a checkpoint of this name lies: in the cache, in the box, or at the path that it spells."""
    if key.startswith("seeded-"):
        from engine.voices import seeded

        return seeded.ensure(key)
    boxed = VOICES / key
    return boxed if (boxed / "voice.json").is_file() else Path(key)


def known() -> list[str]:
    """Names that `find` understands without a path."""
    from engine.voices import seeded

    boxed = sorted(path.parent.name for path in VOICES.glob("*/voice.json"))
    return [*boxed, *seeded.SIZES, *HUB]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the catalogue.

    Attributes:
        name: of a checkpoint, as `find` understands it.
        languages: what it speaks; empty where that is unknown.
        voices: names of the clips that come with it; the first is the default.
        note: where it comes from.
    """

    name: str
    languages: tuple[str, ...]
    voices: tuple[str, ...]
    note: str


def catalogue() -> list[Entry]:
    """Every checkpoint that has a name, and who speaks with it; nothing is fetched, checked or loaded.

    Raises:
        CheckpointError: the manifest of a voice in the box cannot be read.
    """
    from engine.voices import seeded

    boxed = []
    for name in sorted(path.parent.name for path in VOICES.glob("*/voice.json")):
        manifest = _manifest(VOICES / name)
        clips = tuple(_references(VOICES / name, manifest)) or ("example",)
        boxed.append(Entry(name, tuple(manifest.get("languages", ())), clips, "comes with this package"))
    untrained = "made here from random numbers: noise, for tests"
    hub = "fetched from the hub when it is first used"
    return [
        *boxed,
        *(Entry(name, HUB_LANGUAGES, ("example",), hub) for name in HUB),
        *(Entry(name, (), ("example",), untrained) for name in seeded.SIZES),
    ]


def _from_folder(name: str, folder: Path, vocoder: str | Path | None) -> Checkpoint:
    manifest = _manifest(folder)
    _verify(folder, manifest)
    own_vocoder = folder / "vocos"
    table = manifest.get("durations")
    return Checkpoint(
        name=name,
        **_config(_configuration(folder)),
        weights=_weights(folder),
        vocoder=_vocoder(vocoder if vocoder or not own_vocoder.is_dir() else own_vocoder),
        trained=manifest.get("trained", True),
        languages=tuple(manifest.get("languages", ())),
        references=_references(folder, manifest) or _example(),
        durations=folder / table if table else None,
        max_seconds=float(manifest.get("max_seconds", MAX_SECONDS)),
        level=level.of(manifest, folder / "voice.json"),
        reading=manifest.get("reading", "raw"),
    )


def _weights(folder: Path) -> Path:
    """The weights in a folder, those of the highest step where there are several.

    Raises:
        CheckpointError: there are none.
    """
    steps = {
        path: int(found[1])
        for path in folder.iterdir()
        if (found := re.fullmatch(r"model_(\d+)\.(safetensors|pt)", path.name))
    }
    named = [folder / file for file in WEIGHTS if (folder / file).is_file()]
    candidates = [*named, *sorted(steps, key=lambda path: -steps[path])]
    if not candidates:
        raise CheckpointError(
            f"{folder} without weights",
            f"one of {', '.join(WEIGHTS)}, or model_STEP.safetensors",
            "Put the weights there, or name the file itself",
        )
    return candidates[0]


def _configuration(folder: Path) -> Path:
    """The configuration beside weights: `config.yaml`, or the only other YAML, under upstream's own name.

    Raises:
        CheckpointError: there are several.
    """
    own = folder / "config.yaml"
    others = sorted(folder.glob("*.yaml"))
    if own.is_file() or not others:
        return own
    if len(others) > 1:
        names = ", ".join(path.name for path in others)
        raise CheckpointError(f"{folder} with {names}", "one of them", "Call the right one config.yaml")
    return others[0]


def _references(folder: Path, manifest: dict[str, Any]) -> dict[str, Voice]:
    """The clips that the manifest names, its default first."""
    try:
        clips = {
            key: Voice(folder / entry["file"], entry["text"])
            for key, entry in manifest.get("references", {}).items()
            if _inside(entry["file"])
        }
        first = manifest.get("default_reference")
        return {first: clips[first], **clips} if first else clips
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / 'voice.json'} with references that lack {error}",
            "file and text of each clip",
            "Restore the file",
        ) from error


def _from_file(weights: Path, vocoder: str | Path | None) -> Checkpoint:
    beside = weights.parent / "vocos"
    return Checkpoint(
        name=weights.stem,
        **_config(_configuration(weights.parent)),
        weights=weights,
        vocoder=_vocoder(vocoder if vocoder or not beside.is_dir() else beside),
        trained=True,
        languages=(),
        references=_example(),
    )


def _from_hub(name: str, vocoder: str | Path | None) -> Checkpoint:
    repository, file = HUB[name]
    return Checkpoint(
        name=name,
        **_config(upstream.shipped(f"configs/{name}.yaml")),
        weights=download(
            repository,
            file,
            f"copy DIR/{file} here, copy {upstream.shipped(f'configs/{name}.yaml')} "
            "beside it as config.yaml, "
            "and load the weight file by its path",
        ),
        vocoder=_vocoder(vocoder),
        trained=True,
        languages=HUB_LANGUAGES,
        references=_example(),
    )


def _example() -> dict[str, Voice]:
    clip, words = EXAMPLE_CLIP
    return {"example": Voice(upstream.shipped(clip), words)}


def _vocoder(folder: str | Path | None) -> Path:
    if folder is None:
        repository, files = HUB_VOCODER
        cure = "copy DIR here as the folder vocos beside the weights, or pass it: vocoder=DIR, --vocoder DIR"
        return [download(repository, file, cure, " ".join(files)) for file in files][-1].parent
    missing = [name for name in HUB_VOCODER[1] if not (Path(folder) / name).is_file()]
    if missing:
        raise CheckpointError(
            f"vocoder folder {folder} without {', '.join(missing)}", "a Vocos folder", "Add the file"
        )
    return Path(folder)


def _config(path: Path) -> dict[str, Any]:
    """Backbone, architecture and vocabulary from a configuration in upstream's shape."""
    import yaml

    try:
        model = yaml.safe_load(small_text(path))["model"]
        backbone, arch, mel = (
            model["backbone"],
            dict(model["arch"]),
            model.get("mel_spec") or upstream.MEL_SPEC,
        )
        named = path.parent / model["tokenizer_path"] if model.get("tokenizer_path") else None
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"configuration {path} ({error!r})",
            "model.backbone and model.arch as in upstream's configs",
            "Put the model's config.yaml beside its weights",
        ) from error
    if mel != upstream.MEL_SPEC:
        raise CheckpointError(
            f"configuration {path} with mel_spec {mel}", str(upstream.MEL_SPEC), "Use a Vocos checkpoint"
        )
    return {"backbone": backbone, "arch": arch, "vocabulary": _vocabulary(path.parent, named)}


def _vocabulary(folder: Path, named: Path | None) -> Path:
    """The tokens of a model: those that its configuration names, `vocab.txt` beside it, or upstream's own.

    Raises:
        CheckpointError: the configuration names a file that is not there, and none lies beside it.
    """
    beside = folder / "vocab.txt"
    if named is not None and named.is_file():
        return named
    if beside.is_file():
        return beside
    if named is not None:
        raise CheckpointError(
            f"vocabulary {named}",
            "an existing file",
            "Put the vocab.txt of these weights beside them, or correct model.tokenizer_path in config.yaml",
        )
    return upstream.shipped("infer/examples/vocab.txt")


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "trained": (lambda value: isinstance(value, bool), "true or false"),
    "languages": (
        lambda value: isinstance(value, list) and all(isinstance(code, str) for code in value),
        'a list of language codes like ["en"]',
    ),
    "files": (lambda value: isinstance(value, dict), "files with their sha256"),
    "references": (lambda value: isinstance(value, dict), "clips with their file and text"),
    "default_reference": (lambda value: value is None or isinstance(value, str), "the name of a clip"),
    "durations": (lambda value: value is None or (isinstance(value, str) and _inside(value)), "a file name"),
    "reading": (lambda value: value in ("raw", "chat"), "raw or chat"),
    "max_seconds": (
        lambda value: (
            isinstance(value, (int, float)) and not isinstance(value, bool) and SHORTEST <= value <= LONGEST
        ),
        f"seconds from {SHORTEST:g} to {LONGEST:g}",
    ),
}
"""What a manifest may say: whether a value is one, and what was expected."""


def _inside(name: str) -> bool:
    """Whether a file's name leads to no other folder than its own and those below it."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name


def _manifest(folder: Path) -> dict[str, Any]:
    """The folder's `voice.json`, or nothing where it has none; its fields are what they should be.

    Raises:
        CheckpointError: it is no JSON, or a field is of another kind, named with its value.
    """
    path = folder / "voice.json"
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(small_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} ({error})", "a JSON object", "Restore the file") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(
            f"{path} holding a {type(manifest).__name__}", "a JSON object", "Restore the file"
        )
    for name, (fits, expected) in FIELDS.items():
        if name in manifest and not fits(manifest[name]):
            raise CheckpointError(
                f"{path} with {name}={str(manifest[name])[:80]!r}", expected, "Correct the file"
            )
    return manifest


def _verify(folder: Path, manifest: dict[str, Any]) -> None:
    """Every file the manifest names is there and is the one it names: by its size first, then its content."""
    for name, entry in manifest.get("files", {}).items():
        path = folder / name
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str) or not _inside(name):
            raise CheckpointError(
                f"{folder / 'voice.json'} with files[{name!r}]={str(entry)[:80]!r}",
                "a file of this folder with its sha256",
                "Restore the file",
            )
        expected = f"SHA-256 {entry['sha256']}"
        if not path.is_file():
            raise CheckpointError(f"{path} is missing", expected, "Restore the file")
        size = path.stat().st_size
        if entry.get("bytes", size) != size:
            raise CheckpointError(
                f"{path} of {size} bytes",
                f"{entry['bytes']} bytes of {expected}",
                "Restore the file: it is truncated or edited",
            )
        digest = sha256(path)
        if digest != entry["sha256"]:
            raise CheckpointError(
                f"{path} with SHA-256 {digest}", expected, "Restore the file: it is truncated or edited"
            )
