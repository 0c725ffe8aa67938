"""The cases of the fuzz session: what is sent, made from random numbers; see `tests.studies.fuzz`."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import soundfile

from engine import Engine, Options, Voice
from engine.audio import Audio
from engine.loading import load
from engine.requests import Request
from engine.voices import seeded

CHECKPOINT = "box"
TINY = "seeded-tiny"

Case = Callable[[], list[Audio]]

WORDS = (
    "hello gg wp lol @name #tag https://youtu.be/x?y=1 $5.99 -5 10:30 1/2 3.5% 1st 2nd FBI AFK Dr. Mr. "
    "1,000 don't ಠ_ಠ 你好 世界 三 𝐇𝐞𝐲 Straße Łódź naïve <3 :) ¯\\_(ツ)_/¯ &amp; 5µm x² a.m. wwwwww 0 007 +49 "
    "…… !!! ??? — « » 😂 👩‍👩‍👧 🇩🇪 привет नमस्ते שלום مرحبا ١٢٣ ß"
).split()
RANGES = ((32, 127), (0, 32), (128, 592), (0x300, 0x370), (0x4E00, 0x9FFF), (0x2000, 0x2070),
          (0x1F300, 0x1FAFF), (0xD800, 0xE000),
          (0xE000, 0xF900), (0xFE00, 0xFE10), (0xE0000, 0xE0080), (0, 0x110000))  # fmt: skip
ODD = (None, True, -1, 0, 1e308, float("nan"), "", "abc", [], {}, [1, "x"], 10**30, "../../x", "\x00")


@dataclasses.dataclass(frozen=True)
class Stage:
    """What cases are played on: two engines, a folder for files, and a clip with its words."""

    folder: Path
    box: Engine
    tiny: Engine
    clip: bytes
    words: str

    @classmethod
    def open(cls, folder: Path) -> Stage:
        """Load the engines; the clip is the voice in the box's own."""
        box = load(CHECKPOINT, Options(nfe=1, reference_cache=True, hoist=True), device="cpu")
        voice = next(iter(box.checkpoint.references.values()))
        clip = Path(str(voice.audio)).read_bytes()
        return cls(folder, box, load(TINY, Options(nfe=1), device="cpu"), clip, voice.text)


def text(stage: Stage, rng: random.Random) -> Case:
    """A text of words, letters of any script and repeats, said by one of both engines."""
    words = _text(rng)
    engine = rng.choice((stage.box, stage.tiny))
    return lambda: [engine.synthesize(words)]


def clip(stage: Stage, rng: random.Random) -> Case:
    """A clip in some format, damaged, or samples of any shape, with some transcript."""
    transcript = stage.words if rng.random() < 0.7 else _text(rng)
    if rng.random() < 0.4:
        samples, rate = (
            _samples(rng),
            rng.choice((None, 0, 8_000, 16_000, 44_100, 192_000, 10**7, -1, 24_000.5)),
        )
        return lambda: [stage.tiny.synthesize("Hello there.", Voice(samples, transcript, rate))]  # type: ignore[arg-type]
    path = stage.folder / f"clip.{rng.choice(('wav', 'flac', 'ogg', 'mp3', 'opus', 'xyz'))}"
    path.write_bytes(_damaged(_encoded(stage.clip, rng), rng))
    return lambda: [stage.tiny.synthesize("Hello there.", Voice(path, transcript))]


def folder(stage: Stage, rng: random.Random) -> Case:
    """A checkpoint whose files are damaged, or say something else."""
    target = stage.folder / "checkpoint"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(seeded.ensure(TINY), target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    for path in rng.sample(files, rng.choice((1, 1, 2))):
        _tamper(path, rng)

    def run() -> list[Audio]:
        with load(target, Options(nfe=1), device="cpu") as engine:
            return [engine.synthesize("Hello there.")]

    return run


def request(stage: Stage, rng: random.Random) -> Case:
    """Numbers of a request that are out of range, or no numbers, to each of the engine's ways to speak."""
    fields = (
        "seed",
        "speed",
        "nfe",
        "cfg_strength",
        "duration",
        "fade",
        "pause",
        "trim",
        "target_rms",
        "voice",
    )
    usual = (0, 1, 0.5, 2.0, None, True)
    more = {name: rng.choice((*ODD, *usual)) for name in rng.sample(fields, rng.choice((1, 1, 2, 3)))}
    words, way = _text(rng)[:80], rng.choice(("synthesize", "stream", "batch"))
    if way == "stream":
        return lambda: list(stage.box.stream(words, **more))
    if way == "batch":
        return lambda: stage.box.synthesize_batch([Request(words, **more), Request("Hello.")])
    return lambda: [stage.box.synthesize(words, **more)]


def options(stage: Stage, rng: random.Random) -> Case:
    """Any values of the options, each within its choices or odd."""
    fields = {
        field.name: field for field in dataclasses.fields(Options) if field.name != "compile"
    }  # minutes
    hints = get_type_hints(Options)
    chosen: dict[str, Any] = {}
    for name in rng.sample(sorted(fields), rng.choice((1, 2, 4))):
        chosen[name] = rng.choice((*get_args(hints[name]), fields[name].default, *ODD))
    chosen.setdefault("nfe", rng.choice((1, 2, 4)))

    def run() -> list[Audio]:
        with load(TINY, Options(**chosen), device="cpu") as engine:
            return [engine.synthesize("Hello there.")]

    return run


KINDS: Mapping[str, Callable[[Stage, random.Random], Case]] = {
    "text": text,
    "clip": clip,
    "folder": folder,
    "request": request,
    "options": options,
}


def _text(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.choice((1, 2, 5, 12))):
        low, high = rng.choice(RANGES)
        letter = chr(rng.randrange(low, high))
        parts.append(
            rng.choice((rng.choice(WORDS), rng.choice(WORDS), letter, letter * rng.choice((2, 30, 400))))
        )
    joined = rng.choice(("", " ", " ", ", ", "\n")).join(parts)
    return joined * rng.choice((1, 1, 1, 1, 8))


def _samples(rng: random.Random) -> Any:
    numbers = np.random.default_rng(rng.randrange(2**32))
    shape = rng.choice(((), (0,), (1,), (9_000,), (40_000,), (40_000, 2), (2, 40_000), (3, 3, 3), (300, 200)))
    kind = rng.choice(
        (np.float32, np.float64, np.float16, np.int16, np.uint8, np.complex64, np.bool_, object)
    )
    scale = rng.choice((0.0, 1e-6, 0.1, 1.0, 30.0, 1e30))
    with np.errstate(all="ignore"):
        samples = np.asarray(numbers.standard_normal(shape) * scale).astype(kind)
    if samples.size and samples.dtype.kind == "f" and rng.random() < 0.2:
        samples.flat[0] = rng.choice((np.nan, np.inf))
    return rng.choice((samples, samples, samples.tolist()))


def _encoded(wave: bytes, rng: random.Random) -> bytes:
    samples, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    made = io.BytesIO()
    kind, subtype = rng.choice(
        (("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "DOUBLE"), ("WAV", "ULAW"), ("FLAC", "PCM_16"),
         ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"))
    )  # fmt: skip
    rate = 48_000 if subtype == "OPUS" else rate
    soundfile.write(made, samples[: rate * 4], rate, format=kind, subtype=subtype)
    return made.getvalue()


def _damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped near the beginning or anywhere, cut short, doubled, or as they are."""
    way = rng.choice(("whole", "flip", "flip", "flip", "cut", "double", "zero", "noise"))
    if way == "flip":
        changed = bytearray(content)
        for _ in range(rng.choice((1, 4, 40))):
            reach = rng.choice((48, len(changed)))
            changed[rng.randrange(min(reach, len(changed)))] = rng.randrange(256)
        return bytes(changed)
    if way == "cut":
        return content[: rng.randrange(len(content))]
    if way == "double":
        return content + content
    if way == "zero":
        return content[:44] + bytes(len(content) - 44)
    return rng.randbytes(5_000) if way == "noise" else content


def _tamper(path: Path, rng: random.Random) -> None:
    """Damage a file, or give one of its values another."""
    way = rng.choice(("bytes", "value", "value", "value", "gone"))
    if way == "gone":
        path.unlink()
    elif way == "value" and path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf8"))
        _mutate(content, rng)
        path.write_text(json.dumps(content), encoding="utf8")
    elif way == "value" and path.suffix == ".yaml":
        lines = path.read_text(encoding="utf8").splitlines()
        at = rng.randrange(len(lines))
        head = lines[at].split(":")[0]
        odd = rng.choice((*map(str, ODD), "!!python/object:os.system x", "&a [*a]", "9" * 400, "os.system"))
        lines[at] = rng.choice((f"{head}: {odd}", "", "\t" + lines[at], lines[at] * 2))
        path.write_text("\n".join(lines), encoding="utf8")
    elif way == "value" and path.suffix == ".safetensors":
        content = bytearray(path.read_bytes())
        content[:8] = struct.pack("<Q", rng.choice((0, 1, 2**20, 2**40, 2**63)))
        path.write_bytes(content)
    else:
        path.write_bytes(_damaged(path.read_bytes(), rng))


def _mutate(content: Any, rng: random.Random) -> None:
    """One value anywhere in what a JSON file holds becomes an odd one, or goes."""
    while isinstance(content, (dict, list)) and content:
        key = rng.choice(sorted(content)) if isinstance(content, dict) else rng.randrange(len(content))
        inner = content[key]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.6:
            content = inner
            continue
        if rng.random() < 0.2:
            del content[key]
        else:
            content[key] = rng.choice(ODD[:-1])
        return
