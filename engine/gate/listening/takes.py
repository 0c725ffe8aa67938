"""Where the pairs of a listening page come from: two folders of WAVs, or two toggle sets that speak."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, TypeAdapter

from engine.audio import Samples
from engine.errors import UsageError
from engine.gate.data import texts
from engine.gate.data.files import reason
from engine.gate.data.workloads import Frozen
from engine.gate.listening.page import Measured, Pair
from engine.gate.quality import speech
from engine.gate.quality.judges import ALL, Scores
from engine.gate.quality.judges.resample import at_our_rate
from engine.gate.quality.speech import Report
from engine.options import Options

INDEX = "index.json"


class About(Frozen):
    """What `index.json` may say of a file: `{"hello.wav": {"text": ..., "voice": ..., "scores": {...}}}`."""

    text: str = ""
    voice: str = ""
    scores: dict[str, float | str] = Field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """The pairs, the labels of candidate and base, and what should be said of them, one sentence each."""

    pairs: tuple[Pair, ...]
    a: str
    b: str
    notes: tuple[str, ...] = ()


def find(
    a: str,
    b: str,
    checkpoint: str | None = None,
    whole: bool = False,
    device: str | None = None,
    report: Report = lambda *_: None,
) -> Found:
    """The pairs of candidate `a` and base `b`: both folders, or both toggle sets (see `Options.parse`).

    Args:
        checkpoint: what speaks; the embedded default unless given. Not with folders.
        whole: speak the whole pinned set instead of the quick one. Not with folders.
        device: cpu or cuda.

    Raises:
        UsageError: a folder against toggles, or folders that do not belong together.
        OptionsError: toggles that cannot be read.
        CheckpointError, DeviceError: it cannot be loaded.
    """
    folders = [Path(one).is_dir() for one in (a, b)]
    if all(folders):
        if checkpoint or whole:
            raise UsageError("folders with --checkpoint or --all", "folders alone", "Leave the flag out")
        return from_folders(Path(a), Path(b))
    if any(folders):
        folder, other = (a, b) if folders[0] else (b, a)
        raise UsageError(
            f"the folder {folder} against {other!r}, which is none",
            "two folders, or two toggle sets",
            "Name both",
        )
    names = None if whole else texts.QUICK
    found = spoken(Options.parse(a), Options.parse(b), names, checkpoint, device, report)
    return dataclasses.replace(found, a=_label(a, found.a), b=_label(b, found.b))


def from_folders(a: Path, b: Path) -> Found:
    """Pairs of the WAVs of the same name in two folders; texts, voices and scores from an `index.json` there.

    Raises:
        UsageError: no WAV, a name on one side only, an unreadable file, or two texts for one name.
    """
    files = [{path.name for path in folder.glob("*.wav")} for folder in (a, b)]
    if not files[0] or files[0] != files[1]:
        alone = sorted(files[0] ^ files[1])
        given = f"{alone[0]} in one of {a} and {b}" if alone else f"{a} and {b} without any WAV"
        raise UsageError(given, "WAVs of the same names in both folders", "Add what is missing")
    indices = [_index(folder) for folder in (a, b)]
    pairs = []
    for name in sorted(files[0]):
        of_a, of_b = (index.get(name, About()) for index in indices)
        if of_a.text and of_b.text and of_a.text != of_b.text:
            raise UsageError(f"{name} with two texts", "one text in both folders", f"Correct {INDEX}")
        pairs.append(
            Pair(
                Path(name).stem, of_a.text or of_b.text, of_a.voice or of_b.voice,
                _wav(a / name), _wav(b / name), of_a.scores, of_b.scores,
            )
        )  # fmt: skip
    labels = (a.name, b.name) if a.name != b.name else (str(a), str(b))
    return Found(tuple(pairs), *labels)


def spoken(
    a: Options,
    b: Options,
    names: Sequence[str] | None = texts.QUICK,
    checkpoint: str | None = None,
    device: str | None = None,
    report: Report = lambda *_: None,
    judges: tuple[str, ...] = ALL,
) -> Found:
    """Pairs of pinned texts, spoken with two toggle sets from the same noise, and judged where judges are.

    Args:
        names: of the texts; None is all of them.

    Raises:
        UsageError: no such text or judge.
        CheckpointError, DeviceError, OptionsError: it cannot be loaded.
    """
    from engine import DEFAULT_CHECKPOINT

    found = speech.speak(
        {"candidate": a, "base": b},
        checkpoint or DEFAULT_CHECKPOINT,
        names,
        report,
        device=device,
        judges=judges,
    )
    items = [found.items[arm] for arm in ("candidate", "base")]
    scores = [found.scores[arm] for arm in ("candidate", "base")]
    pairs = tuple(
        Pair(
            case.name,
            case.text,
            ours.voice,
            ours.samples,
            theirs.samples,
            measured(our_scores),
            measured(their_scores),
        )
        for case, ours, theirs, our_scores, their_scores in zip(found.cases, *items, *scores, strict=True)
    )
    heard = (one for side in scores for one in side)
    silent = sorted({f"{judge} not judged: {why}" for one in heard for judge, why in one.not_judged.items()})
    untrained = ["The checkpoint is untrained: what you will hear is noise, not speech."]
    return Found(pairs, str(a), str(b), (*found.skipped, *silent, *(untrained * (not found.trained))))


def measured(scores: Scores) -> Measured:
    """What the page shows of the judges' scores. One that says nothing is left out."""
    shown: dict[str, float | str] = {"length": f"{scores.seconds:.2f} s"}
    if scores.mos is not None:
        shown["DNSMOS overall (1 to 5)"] = f"{scores.mos.ovrl:.2f}"
        shown["DNSMOS speech (1 to 5)"] = f"{scores.mos.sig:.2f}"
    if scores.words is not None:
        shown["words heard wrong"] = f"{scores.words.word_edits} of {scores.words.words}"
        shown["character error rate"] = f"{scores.words.cer:.0%}"
    if scores.similarity is not None:
        shown["similarity to the voice's clip (cosine)"] = f"{scores.similarity:.2f}"
    shown["loudness"] = f"{scores.signal.loudness_dbfs:.1f} dBFS".replace("-", "−")
    return shown


def _label(typed: str, options: str) -> str:
    """A preset by its name too: `fast_cpu (nfe=7 ...)`."""
    return options if typed == options else f"{typed} ({options})"


def _index(folder: Path) -> dict[str, About]:
    """What the folder's index says by file name; nothing where there is none."""
    path = folder / INDEX
    if not path.exists():
        return {}
    try:
        return TypeAdapter(dict[str, About]).validate_json(json.dumps(json.loads(path.read_text("utf-8"))))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: {reason(error)}", 'for each file "text", "voice" and "scores"', "Correct or remove it"
        ) from error


def _wav(path: Path) -> Samples:
    """Mono float32 samples [n] at 24 kHz."""
    import soundfile

    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise UsageError(f"{path}: {error}", "a WAV that libsndfile reads", "Export it again") from error
    return at_our_rate(samples.mean(axis=1), rate)
