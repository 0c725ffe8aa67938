"""Reference clips: every kind that cannot work is refused, and what is cached is keyed by content."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine import reference, upstream
from engine.errors import ReferenceClipError
from engine.reference import Voice
from engine.text import Frontend

RATE = 16_000


def speech(
    seconds: float = 1.0, level: float = 0.3, rate: int = RATE
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A tone that swells and fades like syllables."""
    t = np.arange(int(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * 200 * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def wav(path: Path, samples: Any, rate: int = RATE, subtype: str = "FLOAT") -> Path:
    """Write `samples` as they are."""
    soundfile.write(path, samples, rate, subtype=subtype, format="WAV")
    return path


@pytest.fixture(scope="module")
def mel_spec() -> Any:
    """Upstream's mel transform."""
    return upstream.module("f5_tts.model.modules").MelSpec(**upstream.MEL_SPEC)


@pytest.mark.parametrize(
    ("name", "samples", "sentence"),
    [
        ("none", np.zeros((0,), np.float32), "no samples|0.00 s"),
        ("short", speech(0.05), "of 0.05 s: expected 0.5 to 20 s"),
        ("long", speech(25), "of 25.00 s"),
        ("silent", np.zeros(RATE, np.float32), "silent"),
        ("nan", np.where(np.arange(RATE) == 100, np.nan, speech()).astype(np.float32), "NaN or infinite"),
        ("inf", np.where(np.arange(RATE) == 100, np.inf, speech()).astype(np.float32), "NaN or infinite"),
        ("loud", speech(level=3e4), "within -1 and 1"),
        ("huge", speech(level=1e38), "within -1 and 1"),
        ("stereo nan", np.stack([speech(), np.full(RATE, np.nan, np.float32)], 1), "NaN or infinite"),
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_a_clip_that_cannot_work_is_refused(
    tmp_path: Path, name: str, samples: Any, sentence: str, as_file: bool
) -> None:
    """The same sentence for a file and for samples."""
    voice = Voice(wav(tmp_path / "a.wav", samples), "words") if as_file else Voice(samples, "words", RATE)
    with pytest.raises(ReferenceClipError, match=sentence):
        voice.read()


def test_ten_minutes_are_refused_without_reading_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header tells the length; an hour of audio is not decoded to be refused."""
    path = wav(tmp_path / "long.wav", np.zeros(600 * 8000, np.int16), 8000, "PCM_16")
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(ReferenceClipError, match=r"of 600.00 s.*Cut the clip"):
        Voice(path, "words").read()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.wav", b""),
        ("text.wav", b"this is no audio at all" * 10),
        ("truncated.wav", b"RIFF\x24\x00\x00\x00WAVEfmt "),
        ("zeros.mp3", bytes(4096)),
        ("headerless.raw", bytes(4096)),
        ("cut.flac", b"fLaC\x00\x00\x00\x22"),
    ],
)
def test_a_file_that_is_no_audio_is_refused_by_its_path(tmp_path: Path, name: str, content: bytes) -> None:
    """Empty, truncated, foreign and headerless files each get the same clear error."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ReferenceClipError, match=name):
        Voice(path, "words").read()


@pytest.mark.parametrize("audio", ["gone.wav", "", ".", "nul\0.wav", "n" * 5000])
@pytest.mark.parametrize("what", ["read", "digest"])
def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, audio: str, what: str) -> None:
    """Missing files, folders and impossible names, whether the clip is read or looked up in the cache."""
    with pytest.raises(ReferenceClipError, match="readable audio file"):
        getattr(Voice(str(tmp_path / audio), "words"), what)()


@given(st.binary(max_size=300), st.sampled_from([".wav", ".flac", ".ogg", ".mp3", ".aiff", ".raw", ""]))
def test_any_bytes_are_audio_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    """No damaged file escapes as another exception."""
    path = tmp_path_factory.mktemp("bytes") / f"clip{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReferenceClipError):
        Voice(path, "words").read()


@given(st.integers(0, 44 + 2 * RATE))
def test_a_file_cut_anywhere_is_audio_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    """A download that broke off is read as far as it goes, or refused."""
    path = wav(tmp_path_factory.mktemp("cut") / "a.wav", speech(), subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:length])
    try:
        samples, rate = Voice(path, "words").read()
    except ReferenceClipError:
        return
    assert (rate, samples.dtype) == (RATE, np.float32)
    assert len(samples) >= RATE // 2


@given(
    arrays.arrays(
        st.one_of(arrays.scalar_dtypes(), arrays.unicode_string_dtypes(max_len=3)),
        arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    st.sampled_from([None, 5, 8_000, RATE, 24_000.0, "16000", True, 10**9, -1]),
    st.integers(1, 10_000),
)
def test_any_array_is_a_clip_or_a_named_error(array: Any, rate: Any, repeats: int) -> None:
    """Any shape, any type, any content, any rate: samples within bounds, or the error of reference clips."""
    try:
        voice = Voice(np.repeat(array, repeats, axis=0) if array.ndim else array, "words", rate)
        digest = voice.digest()
        samples, read_rate = voice.read()
    except ReferenceClipError:
        return
    assert len(digest) == 64
    assert (samples.ndim, samples.dtype, read_rate) == (1, np.float32, rate)
    assert np.isfinite(samples).all()


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.complex64, np.bool_, object, "U4"])
def test_samples_that_are_not_floats_are_refused(dtype: Any) -> None:
    """16-bit integers taken for floats would be noise at full level; the cure says how to scale them."""
    with pytest.raises(ReferenceClipError, match="Divide 16-bit samples by 32768"):
        Voice(np.ones(RATE).astype(dtype), "words", RATE).read()


@pytest.mark.parametrize("text", ["", "  ", "\n", None, 7, "half \ud800 pair"])
def test_a_voice_without_its_words_is_refused(text: Any) -> None:
    """A clip alone cannot condition anything."""
    with pytest.raises(ReferenceClipError, match="reference text"):
        Voice("a.wav", text)


@pytest.mark.parametrize(
    ("audio", "rate"), [("a.wav", RATE), (Path("a.wav"), 1), (np.zeros(3), None), (None, None)]
)
def test_a_rate_belongs_to_samples_and_not_to_files(audio: Any, rate: int | None) -> None:
    """A file knows its rate; samples do not."""
    with pytest.raises(ReferenceClipError, match="sample_rate"):
        Voice(audio, "words", rate)


def test_a_rate_no_recorder_uses_is_refused_for_files_too(tmp_path: Path) -> None:
    """A header can say anything."""
    with pytest.raises(ReferenceClipError, match="at 50 Hz"):
        Voice(wav(tmp_path / "a.wav", speech(1, rate=50), 50), "words").read()


def test_channels_are_averaged() -> None:
    """Stereo becomes mono, as upstream does it."""
    one, other = speech(level=0.2), speech(level=0.4)
    samples, _ = Voice(np.stack([one, other], axis=1), "words", np.int64(RATE)).read()  # type: ignore[arg-type]
    np.testing.assert_allclose(samples, (one + other) / 2, atol=1e-7)


def test_the_digest_is_of_content_and_words_alone(tmp_path: Path) -> None:
    """Equal content has equal digests wherever it lies; other samples, rate or words have others."""
    samples = speech()
    voice = Voice(samples, "words", RATE)
    assert voice.digest() == Voice(samples.copy(), "words", RATE).digest()
    assert voice.digest() == Voice(samples.tolist(), "words", RATE).digest()
    others = [
        Voice(samples * np.float32(0.99), "words", RATE),
        Voice(samples, "other words", RATE),
        Voice(samples, "words", 24_000),
        Voice(samples[:, None], "words", RATE),
        Voice(samples, "words", RATE, target_rms=0.2),
        Voice(wav(tmp_path / "a.wav", samples), "words"),
    ]
    assert len({voice.digest(), *(other.digest() for other in others)}) == 1 + len(others)
    one, other = wav(tmp_path / "b.wav", samples), wav(tmp_path / "c.wav", samples)
    assert Voice(one, "words").digest() == Voice(str(other), "words").digest()


def test_objects_never_get_a_digest_of_their_addresses() -> None:
    """An array of Python objects holds pointers; keyed by them, a cache would confuse voices."""
    with pytest.raises(ReferenceClipError):
        Voice([Decimal(1)] * RATE, "words", RATE).digest()  # type: ignore[arg-type]


def test_edges_are_trimmed_and_a_short_silence_ends_the_clip() -> None:
    """Leading and trailing quiet goes, the middle stays, 50 ms of silence follow."""
    loud = np.full(RATE, 0.5, np.float32)
    quiet = np.zeros(RATE // 2, np.float32)
    trimmed = reference.trim(np.concatenate([quiet, loud, quiet, loud, quiet]), RATE)
    assert len(trimmed) == 2 * RATE + RATE // 2 + int(reference.TAIL_SECONDS * RATE)
    assert trimmed[0] == 0.5
    assert not trimmed[-int(reference.TAIL_SECONDS * RATE) :].any()


@given(arrays.arrays(np.float32, st.integers(0, 2000), elements=st.floats(-1, 1, width=32)))
def test_trimming_takes_a_run_from_the_middle(samples: Any) -> None:
    """What is left was there before, in the same order."""
    kept = reference.trim(samples, 8000)[: -int(reference.TAIL_SECONDS * 8000)]
    assert kept.tobytes() in samples.tobytes()


def test_conditioning_is_upstreams_own(mel_spec: Any) -> None:
    """Level, padding and mel are those of `infer_batch_process`, step by step."""
    torch = upstream.module("torch")
    samples = np.random.default_rng(0).normal(0, 0.05, 48_000).astype(np.float32)  # energy in every band
    voice = Voice(samples, " twelve words ", 24_000)
    made = reference.condition(voice, mel_spec, "cpu")
    audio = torch.from_numpy(reference.trim(samples, 24_000))[None]
    rms = torch.sqrt(torch.mean(torch.square(audio)))
    assert rms < 0.1
    expected = mel_spec(audio * 0.1 / rms).permute(0, 2, 1)
    torch.testing.assert_close(made.mel, expected, atol=1e-4, rtol=0)
    assert (made.frames, made.mel.shape[1]) == (audio.shape[1] // 256, audio.shape[1] // 256 + 1)
    assert made.gain == pytest.approx(float(rms) / 0.1, rel=1e-5)
    assert made.text == "twelve words"


def test_a_loud_clip_keeps_its_level(mel_spec: Any) -> None:
    """Only quieter clips are raised."""
    assert reference.condition(Voice(speech(level=0.6), "ten words", RATE), mel_spec, "cpu").gain == 1.0


@pytest.mark.parametrize("text", ["a", "word " * 40])
def test_a_transcript_that_cannot_fit_the_clip_is_refused(mel_spec: Any, text: str) -> None:
    """Nobody says so little, or so much, in that time: clip and words do not belong together."""
    with pytest.raises(ReferenceClipError, match="transcript of exactly this clip"):
        reference.condition(Voice(speech(3), text, RATE), mel_spec, "cpu")


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_becomes_24_khz(mel_spec: Any, rate: int) -> None:
    """The conditioned clip lasts as long as the recording did."""
    made = reference.condition(Voice(speech(1.0, rate=rate), "ten words", rate), mel_spec, "cpu")
    assert made.frames == pytest.approx((1.0 + reference.TAIL_SECONDS) * 93.75, abs=3)


def test_a_voice_cannot_be_changed() -> None:
    """Its digest stays true."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Voice("a.wav", "words").text = "other"  # type: ignore[misc]


def syllables(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Tone bursts of random length with short gaps, at -20 dBFS: energy like that of speech."""
    rng, parts, total = np.random.default_rng(seed), [], 0.0
    while total < seconds:
        burst, gap = rng.uniform(0.1, 0.3), rng.uniform(0.02, 0.12)
        t = np.arange(int(burst * rate)) / rate
        parts += [0.2 * np.sin(2 * np.pi * rng.uniform(120, 250) * t) * np.sin(np.pi * t / burst)]
        parts += [np.zeros(int(gap * rate))]
        total += burst + gap
    return np.concatenate(parts)[: int(seconds * rate)].astype(np.float32)


def noise(seconds: float, level: float, seed: int = 1, rate: int = RATE) -> Any:
    """White noise at `level` dBFS."""
    return (np.random.default_rng(seed).standard_normal(int(seconds * rate)) * 10 ** (level / 20)).astype(
        np.float32
    )


@pytest.mark.parametrize("level", [-200, -60, -41, -35, -30])
@pytest.mark.parametrize("where", ["inside", "before", "after", "around", "throughout"])
def test_pauses_and_noise_around_do_not_set_the_pace(mel_spec: Any, level: float, where: str) -> None:
    """Three seconds in which nobody speaks, silent or noisy, leave a clip about as long as without them."""
    clip = syllables(4.0)
    middle = 2 * RATE
    waves = {
        "inside": np.concatenate([clip[:middle], noise(3, level), clip[middle:]]),
        "before": np.concatenate([noise(3, level), clip]),
        "after": np.concatenate([clip, noise(3, level)]),
        "around": np.concatenate([noise(3, level), clip, noise(3, level)]),
        "throughout": np.concatenate([clip[:middle], noise(3, -200), clip[middle:]]) + noise(7, level),
    }
    plain = reference.condition(Voice(clip, "a dozen words for four seconds", RATE), mel_spec, "cpu")
    made = reference.condition(Voice(waves[where], "a dozen words for four seconds", RATE), mel_spec, "cpu")
    assert made.seconds == pytest.approx(plain.seconds, abs=0.35)
    assert made.frames == pytest.approx(made.seconds * 93.75, abs=1)
    silent_edge = where != "inside" and level < reference.SILENCE_DB and where != "throughout"
    assert bool(made.warnings) == (not silent_edge)
    assert all("nobody speaks" in warning for warning in made.warnings)


def test_a_clean_clip_is_conditioned_on_as_it_is() -> None:
    """Upstream's own examples, one with a pause of 0.9 s, and the clips in the box lose no sample."""
    from engine.checkpoint import VOICES

    folder = upstream.shipped("infer/examples/basic/basic_ref_en.wav").parent
    for path in [*folder.glob("*.wav"), *(VOICES / "box" / "references").glob("*.wav")]:
        voice = Voice(path, "words")
        clip = voice.prepared()
        assert clip.warnings == ()
        assert np.array_equal(clip.samples, reference.trim(*voice.read()))
        assert np.array_equal(voice.read()[0], soundfile.read(path, dtype="float32")[0])


def test_a_click_does_not_end_a_pause() -> None:
    """A mouse within three seconds of silence is no speech."""
    pause = np.zeros(3 * RATE, np.float32)
    pause[RATE : RATE + RATE // 50] = 0.5
    clip = Voice(np.concatenate([syllables(2), pause, syllables(2, 5)]), "words", RATE).prepared()
    assert len(clip.samples) / RATE == pytest.approx(4.25, abs=0.3)


@pytest.mark.parametrize("level", [0.006, 0.05, 0.15])
def test_a_quiet_clip_is_raised_before_its_edges_are_trimmed(mel_spec: Any, level: float) -> None:
    """It conditions like the same clip at full level, its speech stays audible, and a warning says so."""
    clip = syllables(3)
    loud = reference.condition(Voice(clip, "a dozen words", RATE), mel_spec, "cpu")
    quiet = reference.condition(Voice(clip * np.float32(level), "a dozen words", RATE), mel_spec, "cpu")
    assert quiet.gain == 1.0
    assert quiet.seconds == pytest.approx(loud.seconds, abs=0.1)
    assert float(quiet.mel.mean()) == pytest.approx(float(loud.mel.mean()), abs=0.3)
    assert any("dBFS" in warning for warning in quiet.warnings)
    assert loud.warnings == ()


@pytest.mark.parametrize("offset", [0.3, -0.1])
def test_a_constant_offset_is_taken_off_and_named(offset: float) -> None:
    """It would hide every silence, and be most of the level."""
    clip = syllables(2)
    voice = Voice(clip + np.float32(offset), "words", RATE)
    np.testing.assert_allclose(voice.read()[0], clip - clip.mean(), atol=1e-4)
    assert any(f"offset of {offset + clip.mean():.3f}" in warning for warning in voice.prepared().warnings)


def test_a_clip_of_nothing_but_an_offset_is_silent() -> None:
    """And the sentence names the offset."""
    with pytest.raises(ReferenceClipError, match=r"silent but for a constant offset of 0\.300"):
        Voice(np.full(RATE, 0.3, np.float32), "words", RATE).read()


@pytest.mark.parametrize("factor", [-1.0, -0.95])
def test_channels_that_cancel_are_named(factor: float) -> None:
    """A cable wired the wrong way is not a broken microphone."""
    clip = syllables(2)
    with pytest.raises(ReferenceClipError, match=r"cancel each other.*Pass one channel"):
        Voice(np.stack([clip, np.float32(factor) * clip], axis=1), "words", RATE).read()


@pytest.mark.parametrize("other", [np.zeros(2 * RATE, np.float32), syllables(2, 9)])
def test_channels_that_differ_are_a_recording(other: Any) -> None:
    """One silent channel, or two speakers, are averaged."""
    clip = syllables(2)
    samples, _ = Voice(np.stack([clip, other], axis=1), "words", RATE).read()
    np.testing.assert_allclose(samples, (clip + other) / 2, atol=1e-6)


def test_channels_may_come_first() -> None:
    """[c, n] is what torchaudio gives, [n, c] what soundfile does; both are the same clip."""
    clip = np.stack([syllables(2), syllables(2, 3), syllables(2, 4)])
    for shaped in (clip, clip[:1], clip[:2]):
        first = Voice(shaped, "words", RATE).read()[0]
        assert np.array_equal(first, Voice(shaped.T, "words", RATE).read()[0])
        np.testing.assert_allclose(first, shaped.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("shape", [(RATE, 100), (1, 2, RATE), (2, RATE, 1), ()])
def test_a_shape_that_is_no_clip_is_refused_with_the_right_ones(shape: tuple[int, ...]) -> None:
    """Batches, spectrograms and single numbers."""
    with pytest.raises(ReferenceClipError, match=r"\[n\], \[n, channels\] or \[channels, n\]"):
        Voice(np.full(shape, 0.1, np.float32), "words", RATE).read()


FORMATS = [
    ("wav", "WAV", "PCM_U8"),
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "PCM_32"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAV", "DOUBLE"),
    ("wav", "WAV", "ULAW"),
    ("flac", "FLAC", "PCM_16"),
    ("flac", "FLAC", "PCM_24"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("w64", "W64", "PCM_16"),
]


@pytest.mark.parametrize(("suffix", "container", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_formats_and_depths_are_read(
    tmp_path: Path, suffix: str, container: str, subtype: str, rate: int
) -> None:
    """What libsndfile reads is a clip; lossy ones come out about as loud."""
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, syllables(2, rate=rate), rate, format=container, subtype=subtype)
    samples, read = Voice(path, "words").read()
    assert read == rate
    assert np.std(samples) == pytest.approx(np.std(syllables(2, rate=rate)), rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 96_000, 192_000])
def test_rates_up_to_192_khz_are_conditioned_on(mel_spec: Any, tmp_path: Path, rate: int) -> None:
    """The clip lasts as long as it did."""
    path = wav(tmp_path / "a.wav", syllables(2, rate=rate), rate)
    assert reference.condition(Voice(path, "ten words"), mel_spec, "cpu").seconds == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("what", ["read", "digest", "prepared"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, what: str) -> None:
    """A pipe would hang, and a device never ends, be it read or looked up in the cache."""
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null"), tmp_path):
        with pytest.raises(
            ReferenceClipError, match=r"^reference clip [^ ]+ \(not a regular file\): expected"
        ):
            getattr(Voice(path, "words"), what)()


@pytest.mark.parametrize("what", ["read", "digest"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_huge_file_is_refused_by_its_size(tmp_path: Path, what: str, whole: bool) -> None:
    """1.5 GB, of which not a byte is read: the file has none, but for its header."""
    path = wav(tmp_path / "big.wav", syllables(1), subtype="PCM_16")
    if not whole:
        path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(1_500_000_000)
    with pytest.raises(ReferenceClipError, match="of 1500 MB: expected at most 67 MB"):
        getattr(Voice(path, "words"), what)()


def test_more_channels_than_a_recorder_has_are_refused(tmp_path: Path) -> None:
    """By the header, before they are decoded."""
    path = wav(tmp_path / "many.wav", np.full((RATE, 40), 0.1, np.float32))
    with pytest.raises(ReferenceClipError, match="40 channels: expected at most 32"):
        Voice(path, "words").read()


@pytest.mark.parametrize("text", ["......", "😀🎉", "?!", "\u200b", "a\n" * 4000, "half \ud800 pair"])
def test_a_transcript_is_checked_like_words(text: str) -> None:
    """Where the words would be refused, the transcript is, and the error is that of the clip."""
    with pytest.raises(ReferenceClipError, match="exactly what the clip says"):
        Voice(syllables(1), text, RATE)


@pytest.mark.parametrize("text", ["你好世界", "Привет, как дела", "Hello и привет", "नमस्ते"])
def test_a_transcript_in_a_language_that_the_checkpoint_does_not_speak_is_refused(text: str) -> None:
    """Its sounds would be guessed, and the pace with them."""
    with pytest.raises(ReferenceClipError, match="'box' speaks English only"):
        Voice(syllables(1), text, RATE).words(Frontend("box", ("en",)))


def test_a_transcript_conditions_in_its_normal_form(mel_spec: Any) -> None:
    """Combining marks are composed and blanks are single, as in the words to say."""
    voice = Voice(syllables(2), " cafe\u0301  words\u200b ", RATE)
    assert reference.condition(voice, mel_spec, "cpu").text.split() == ["café", "words"]


def test_a_quiet_clip_is_raised_to_the_level_asked_for_and_the_speech_lowered_again(mel_spec: Any) -> None:
    """Twice the level is twice the gain undone, and a mel that is higher by the logarithm of two."""
    samples = speech(3.0, 0.05)
    low, high = (
        reference.condition(Voice(samples, "words of it", RATE, target_rms=rms), mel_spec, "cpu")
        for rms in (0.1, 0.2)
    )
    assert low.gain == pytest.approx(2 * high.gain)
    voiced = low.mel > -4
    np.testing.assert_allclose((high.mel - low.mel)[voiced], np.log(2), atol=1e-3)
    loud = reference.condition(Voice(speech(3.0, 0.9), "words of it", RATE, target_rms=0.01), mel_spec, "cpu")
    assert loud.gain == 1.0


def test_a_level_that_no_clip_can_be_raised_to_is_refused() -> None:
    """Numbers out of range, and whatever is no number."""
    for level in (0.0, -0.1, 0.009, 0.51, float("nan"), float("inf"), True, "0.1", None):
        with pytest.raises(ReferenceClipError, match=r"target_rms=.*expected a level from 0.01 to 0.5"):
            Voice(speech(), "words", RATE, target_rms=level)
