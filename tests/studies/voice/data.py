"""The training data on disk: for each voice one long stream of mel frames, phones and samples."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np

from tests.studies.voice import sentences, speech
from tests.studies.voice.phones import NAMES

Row = dict[str, Any]


def build(work: Path, count: int = 16_000, workers: int = 4) -> None:
    """Speak `count` training sentences and the held-out ones into data, heldout and references of `work`."""
    train, test = sentences.corpus(count)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for voice in sentences.VOICES:
            mine = [sentence.text for sentence in train if sentence.voice == voice]
            write_stream(
                work / "data", voice, pool.imap(_speak, ((text, voice) for text in mine), chunksize=64)
            )
    write_clips(work / "heldout", test)
    refs = [sentences.Sentence(text, voice) for voice, text in sentences.REFERENCES.items()]
    write_clips(work / "references", refs)


def write_stream(folder: Path, voice: str, spoken: Any) -> None:
    """Join the utterances of one voice.

    VOICE.mel.npy float16 [n, 100], .phone.npy uint8 [n], .audio.npy, .json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mels, phones, audio, index, start = [], [], [], [], 0
    for row, mel, phone, samples in spoken:
        mels.append(mel)
        phones.append(phone)
        audio.append(samples)
        index.append(row | {"start": start, "frames": len(mel)})
        start += len(mel)
    np.save(folder / f"{voice}.mel.npy", np.concatenate(mels))
    np.save(folder / f"{voice}.phone.npy", np.concatenate(phones))
    np.save(folder / f"{voice}.audio.npy", np.concatenate(audio))
    (folder / f"{voice}.json").write_text(json.dumps(index))


def write_clips(folder: Path, spoken: list[sentences.Sentence]) -> None:
    """Write NUMBER.wav (24 kHz, 16 bit) of each sentence and index.json."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    index = []
    for number, sentence in enumerate(spoken):
        utterance = speech.say(sentence.text, sentence.voice)
        name = f"{number:03d}.wav"
        soundfile.write(folder / name, utterance.samples, speech.SAMPLE_RATE, subtype="PCM_16")
        index.append(
            {"file": name, "text": sentence.text, "voice": sentence.voice, "phones": utterance.phones}
        )
    (folder / "index.json").write_text(json.dumps(index, indent=1))


def _speak(job: tuple[str, str]) -> tuple[Row, np.ndarray, np.ndarray, np.ndarray]:
    """One utterance: its row, mel float16 [n, 100], phones uint8 [n], samples int16 [n * 256]."""
    text, voice = job
    utterance = speech.say(text, voice)
    phones = speech.frame_phones(utterance, NAMES)
    samples = (utterance.samples * 32767).astype(np.int16)
    # Of the rounded samples, which the vocoder learns from: unrounded ones are silent where these have noise,
    # and a vocoder that never met such silence answers it 10 dB too quietly.
    mel = mel_of(samples.astype(np.float32) / 32767)[: len(phones)]
    return {"text": text, "phones": utterance.phones}, mel.astype(np.float16), phones, samples


def mel_of(samples: np.ndarray) -> np.ndarray:
    """Upstream's log mel of mono 24 kHz samples, float32 [n, 100]."""
    import torch

    from engine import upstream

    if multiprocessing.parent_process() is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    mel = upstream.module("f5_tts.model.modules").get_vocos_mel_spectrogram(torch.from_numpy(samples)[None])
    return np.asarray(mel[0].T)
