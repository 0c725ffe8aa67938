"""The voice in the box, spoken by the engine: the words are heard, and the arithmetic is upstream's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import engine
from engine import Engine, Options, upstream
from engine.activity import speech_level
from engine.checkpoint import VOICES, sha256
from engine.errors import CheckpointError, OptionsError, ReferenceClipError, TextError
from engine.evidence import Clock
from engine.loading import load
from engine.reading import chat
from engine.reference import Voice
from engine.requests import Request

WORDS = "Thanks for watching, see you next time."
UNSEEN = (
    "Welcome.",
    "Thanks for watching!",
    "Can you turn up the music a little, please?",
    "What a beautiful morning it was in the old harbour, and how quiet the boats were.",
)


@pytest.fixture(scope="module")
def box() -> Iterator[Engine]:
    """The embedded default on the CPU, at a step count for which upstream has a pruned grid."""
    with load(options=Options(nfe=7, schedule="epss"), device="cpu") as tts:
        yield tts


def heard(samples: np.ndarray, rate: int) -> list[str]:
    """The words that pocketsphinx's own English model hears."""
    pocketsphinx = pytest.importorskip("pocketsphinx", reason="needs the [quality] extra")
    import soxr

    decoder = pocketsphinx.Decoder(samprate=16_000, loglevel="ERROR")
    decoder.start_utt()
    pcm = np.clip(soxr.resample(samples, rate, 16_000), -1, 1) * 32_767
    decoder.process_raw(pcm.astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    return decoder.hyp().hypstr.split() if decoder.hyp() else []


def test_the_embedded_default_is_the_trained_voice(box: Engine) -> None:
    """What a newcomer loads speaks."""
    assert engine.DEFAULT_CHECKPOINT == "box"
    assert box.checkpoint.trained


@pytest.mark.parametrize("speaker", ["slt", "rms", "awb", "kal16"])
def test_a_recogniser_hears_the_words(box: Engine, speaker: str) -> None:
    """At least five of the words of a chat message, in each of the four voices."""
    audio = box.synthesize(WORDS, speaker, seed=7)
    wanted = set(WORDS.lower().replace(",", "").replace(".", "").split())
    assert len(wanted & set(heard(audio.samples, audio.sample_rate))) >= 5


@pytest.mark.parametrize("speaker", ["slt", "rms", "awb", "kal16"])
def test_speech_is_as_loud_as_its_clip(box: Engine, speaker: str) -> None:
    """Within 3 dB on sentences that the correction was not measured on, none of them clipped."""
    clip = speech_level(*box.checkpoint.references[speaker].read())
    for seed, text in enumerate(UNSEEN):
        samples = box.synthesize(text, speaker, seed=seed).samples
        assert speech_level(samples, 24_000) == pytest.approx(clip, abs=3)
        assert np.abs(samples).max() < 1


def test_the_loss_of_level_was_the_vocoders(box: Engine) -> None:
    """A clip without the noise of rounding comes back 9 dB quieter; with it in the mel, at its level."""
    import soxr

    samples, rate = next(iter(box.checkpoint.references.values())).read()
    smooth = soxr.resample(soxr.resample(samples, rate, 15_800), 15_800, rate)
    parts = box._open()
    with torch.inference_mode():
        mel = parts.model.mel_spec(torch.from_numpy(smooth)[None])
        plain = parts.vocoder._vocoder.decode(mel)[0].numpy()
        mended = parts.vocoder.decode(mel)[0].numpy() / parts.vocoder._gain
    assert speech_level(plain, rate) < speech_level(samples, rate) - 9
    assert speech_level(mended, rate) == pytest.approx(speech_level(samples, rate), abs=1.5)


def test_the_mel_is_upstreams_to_the_bit(box: Engine) -> None:
    """The same tokens and noise through upstream's own `CFM.sample` give the same frames."""
    parts = box._open()
    reference = parts.prepare(next(iter(box.checkpoint.references.values())))
    (piece,) = box._plan(Request(WORDS), Clock("cpu")).pieces
    with torch.inference_mode(), torch.random.fork_rng():
        theirs, _ = parts.model.sample(
            cond=reference.mel,
            text=piece.tokens,
            duration=piece.frames,
            steps=7,
            cfg_strength=2.0,
            sway_sampling_coef=-1,
            seed=7,
        )
    assert np.array_equal(box.synthesize(WORDS, seed=7).mel, theirs[0, reference.frames :].numpy())


@pytest.mark.parametrize("words", ["你好，世界。", "Привет, chat!"])
def test_another_language_is_refused_by_name(box: Engine, words: str) -> None:
    """Never spoken as noise."""
    with pytest.raises(TextError, match="speaks English only"):
        box.synthesize(words)


@pytest.mark.parametrize("words", ["Hi!", "GG", "Café 42 is closed.", "lol"])
def test_short_messages_have_a_sane_length(box: Engine, words: str) -> None:
    """One word is neither dropped nor drawn out."""
    assert 0.2 < box.synthesize(words).seconds < 4


@pytest.mark.parametrize("words", ["你好世界你好世界", "Привет, как дела", "......", "😀😀"])
def test_a_transcript_is_checked_like_the_words(box: Engine, words: str) -> None:
    """Its length would set the pace, and its sounds are guesses."""
    clip = next(iter(box.checkpoint.references.values())).audio
    with pytest.raises(ReferenceClipError, match="exactly what the clip says"):
        box.synthesize(WORDS, Voice(clip, words))


def test_numbers_of_numpy_are_numbers(box: Engine) -> None:
    """A seed or a speed from an array gives what Python's own gives."""
    plain = box.synthesize(WORDS, seed=3, speed=1.5)
    assert np.array_equal(
        box.synthesize(WORDS, seed=np.int64(3), speed=np.float32(1.5)).samples, plain.samples
    )  # type: ignore[arg-type]
    for seed, speed in (
        (np.bool_(True), 1.0),
        (3.0, 1.0),
        (np.int64(-1), 1.0),
        (0, np.float32("nan")),
        (0, "1"),
    ):
        with pytest.raises(OptionsError):
            box.synthesize(WORDS, seed=seed, speed=speed)  # type: ignore[arg-type]


def test_a_pause_in_the_clip_does_not_slow_the_speech(box: Engine) -> None:
    """Nor does noise around it: about as long as without, and a warning."""
    voice = box.checkpoint.references["slt"]
    samples, rate = voice.read()
    noise = (10 ** (-41 / 20) * np.random.default_rng(0).standard_normal(3 * rate)).astype(np.float32)
    middle = int(0.93 * rate)
    plain = box.synthesize(WORDS, "slt")
    assert plain.warnings == ()
    for parts in ([samples[:middle], 0 * noise, samples[middle:]], [noise, samples, noise]):
        slow = box.synthesize(WORDS, Voice(np.concatenate(parts), voice.text, rate))
        assert slow.seconds == pytest.approx(plain.seconds, rel=0.2)
        assert len(slow.warnings) == 1


def test_an_unknown_voice_lists_the_known_ones(box: Engine) -> None:
    """So that the next try works."""
    with pytest.raises(OptionsError, match="slt, rms, awb, kal16"):
        box.synthesize(WORDS, "nobody")


def test_a_transcript_that_cannot_fit_the_clip_is_refused(box: Engine) -> None:
    """A clip of three seconds does not hold four hundred letters."""
    clip = next(iter(box.checkpoint.references.values())).audio
    with pytest.raises(ReferenceClipError, match="bytes of text a second"):
        box.synthesize(WORDS, Voice(clip, "word " * 80))


def test_an_edited_weight_file_is_named_with_both_checksums(tmp_path: Path) -> None:
    """What was expected and what was found."""
    import shutil

    folder = shutil.copytree(VOICES / "box", tmp_path / "box")
    weights = folder / "model.safetensors"
    expected = sha256(weights)
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert expected in str(caught.value)
    assert sha256(weights) in str(caught.value)


def test_accents_are_folded(box: Engine) -> None:
    """A letter with an accent sounds like the letter."""
    tables = box._open().durations
    assert tables is not None
    assert tables.phones(upstream.tokenize("café")) == tables.phones(upstream.tokenize("cafe"))


READ = (
    "I have 10 people here", "that was 1,000 dollars", "the 24th of March", "it is -5 degrees",
    "we meet at 3:30",
    "Dr. Smith met Mr. Jones", "give me 5 kg of rice",
    "I won 10-0", "about 50% of them", "the price is $5.99",
)  # fmt: skip


@pytest.mark.slow
def test_a_recogniser_hears_more_of_what_was_meant_when_chat_is_read() -> None:
    """Over ten pinned texts the words heard are nearer to the reading than those of the raw text."""
    jiwer = pytest.importorskip("jiwer", reason="needs the [quality] extra")
    wanted = [chat(words) for words in READ]
    errors = {}
    for reading in ("raw", "chat"):
        options = Options(nfe=7, schedule="epss", reading=reading)  # type: ignore[arg-type]
        with load(options=options, device="cpu") as tts:
            audios = [tts.synthesize(words, seed=7) for words in READ]
        said = [" ".join(heard(audio.samples, audio.sample_rate)) for audio in audios]
        errors[reading] = jiwer.wer([words.lower() for words in wanted], said)
    assert errors["chat"] < errors["raw"]
