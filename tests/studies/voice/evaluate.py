"""Judges a trained voice on the held-out sentences: words, speaker, naturalness."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from engine import durations, level, upstream
from engine.activity import speech_level
from engine.errors import EngineError
from engine.gate.quality import judges
from engine.gate.quality.judges import words

log = logging.getLogger(__name__)
RATE = 24_000
HOP = 256
SYSTEMS = {"source": 0, "copy": 0, "NFE 16": 16, "NFE 7": 7}
GUIDANCE = 2.0
SWAY = -1.0


class Speaker:
    """An exported voice opened by upstream's own classes; `say` is upstream's own sampling."""

    def __init__(self, folder: Path) -> None:
        import soundfile
        import yaml
        from safetensors.torch import load_file

        model = yaml.safe_load((folder / "config.yaml").read_text())["model"]
        self.cfm = upstream.build_model(model["arch"], "DiT", upstream.shipped("infer/examples/vocab.txt"))
        weights = load_file(folder / "model.safetensors")
        self.cfm.load_state_dict({name.removeprefix("ema_model."): value for name, value in weights.items()})
        self.vocos = open_vocos(folder / "vocos")
        self.durations = durations.load(folder / "durations.json")
        manifest = json.loads((folder / "voice.json").read_text())
        self.references = {
            voice: (soundfile.read(folder / entry["file"], dtype="float32")[0], entry["text"])
            for voice, entry in manifest["references"].items()
        }
        corrected = level.of(manifest, folder / "voice.json")
        self.vocoder = level.apply(self.vocos, corrected, self.cfm.mel_spec, "cpu")
        self.cfm.eval()

    def say(self, text: str, voice: str, steps: int, seed: int) -> np.ndarray:
        """Samples float32 [n] of `text` in the voice of its reference clip."""
        import torch

        clip, transcript = self.references[voice]
        frames = len(clip) // HOP
        tokens = self.durations.spread(upstream.tokenize(transcript + " "), frames, upstream.tokenize(text))
        mel, _ = self.cfm.sample(
            torch.from_numpy(clip)[None], [tokens], len(tokens) + 1, steps=steps, cfg_strength=GUIDANCE,
            sway_sampling_coef=SWAY, seed=seed,
        )  # fmt: skip
        return np.asarray(self.vocoder.decode(mel[:, frames:].transpose(1, 2))[0].clamp(-1, 1))

    def copy(self, samples: np.ndarray) -> np.ndarray:
        """Samples through mel and vocoder: what the vocoder alone costs."""
        import torch

        mel = self.cfm.mel_spec(torch.from_numpy(samples)[None])
        return np.asarray(self.vocos.decode(mel)[0].clamp(-1, 1))


def open_vocos(folder: Path) -> Any:
    """The vocoder as upstream's `load_vocoder(is_local=True)` opens it."""
    import torch

    vocos = upstream.build_vocoder(folder / "config.yaml")
    vocos.load_state_dict(torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True))
    return vocos.eval()


def evaluate(
    work: Path, folder: Path, systems: list[str] | None = None, limit: int = 100, workers: int = 4
) -> Path:
    """Score `systems` of the voice in `folder` on `work`/heldout; returns `folder`/scores.json."""
    clips = json.loads((work / "heldout" / "index.json").read_text())
    clips = clips[:: max(len(clips) // limit, 1)][:limit]
    path = folder / "scores.json"
    scores = json.loads(path.read_text()) if path.is_file() else {}
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        for system in systems or list(SYSTEMS):
            job = partial(judge_share, work, folder, system)
            rows = [
                row
                for rows in pool.map(job, [clips[share::workers] for share in range(workers)])
                for row in rows
            ]
            (work / f"judged-{system.replace(' ', '')}.json").write_text(json.dumps(rows, indent=1))
            scores[system] = summary(rows) | {"source": summary(same_clips(work, rows))}
            log.info("%s: %s", system, scores[system])
            path.write_text(json.dumps(scores, indent=1) + "\n")
    return path


def same_clips(work: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the judges said about the source speech of the clips in `rows`."""
    names = {row["file"] for row in rows}
    judged: list[dict[str, Any]] = json.loads((work / "judged-source.json").read_text())
    return [row for row in judged if row["file"] in names]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def judge_share(work: Path, folder: Path, system: str, clips: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make and judge some of the clips in this process."""
    import soundfile

    speaker = Speaker(folder)
    panel = judges.Panel(
        {voice: clip for voice, (clip, _) in speaker.references.items()}, required=judges.ALL
    )
    opened = judges.open_panel(panel)
    out = work / "spoken" / system.replace(" ", "")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for clip in clips:
        samples, _ = soundfile.read(work / "heldout" / clip["file"], dtype="float32")
        if system == "copy":
            samples = speaker.copy(samples)
        elif SYSTEMS[system]:
            samples = speaker.say(clip["text"], clip["voice"], SYSTEMS[system], seed=int(clip["file"][:3]))
        soundfile.write(out / clip["file"], samples, RATE, subtype="PCM_16")
        found = judges.judge(judges.Item(samples, clip["text"], clip["voice"]), opened)
        if found.heard is None or found.mos is None:
            raise EngineError(
                f"{clip['file']}: {found.not_judged}", "a clip that can be judged", "Listen to it"
            )
        row = {
            "file": clip["file"],
            "voice": clip["voice"],
            "text": plain(clip["text"]),
            "heard": found.heard,
        }
        apart = speech_level(samples, RATE) - speech_level(speaker.references[clip["voice"]][0], RATE)
        rows.append(row | {"nearest": found.nearest, "mos": found.mos.ovrl, "level": apart})
    return rows


def plain(text: str) -> str:
    """The words that error rates are counted on; the chat's "GG" is spoken as two letters."""
    return " ".join(words.plain(text.lower().replace("gg", "g g")))


def summary(rows: list[dict[str, Any]]) -> dict[str, float | int]:
    """Corpus error rates, share of right speakers, mean DNSMOS, level beside the clips."""
    import jiwer

    texts, heard = [row["text"] for row in rows], [row["heard"] for row in rows]
    right = sum(row["nearest"] == row["voice"] for row in rows)
    return {
        "clips": len(rows),
        "wer": round(jiwer.wer(texts, heard), 3),
        "cer": round(jiwer.cer(texts, heard), 3),
        "speaker": round(right / len(rows), 3),
        "dnsmos": round(float(np.mean([row["mos"] for row in rows])), 2),
        "level": levels(rows),
    }


def levels(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Mean decibels by which the speech of each voice is louder than its reference clip."""
    return {
        voice: round(float(np.mean([row["level"] for row in rows if row["voice"] == voice])), 1)
        for voice in sorted({row["voice"] for row in rows})
    }
