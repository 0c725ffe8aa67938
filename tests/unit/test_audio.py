"""Waves: joined, timed and saved."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.audio import SAMPLE_RATE, Audio, Samples, Seam, Timings, check_output, cross_fade
from engine.errors import OutputError

PIECES = st.lists(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1, 1, width=32)), min_size=1, max_size=4
)


def audio(samples: Samples) -> Audio:
    """Audio that took two seconds to make."""
    return Audio(samples, SAMPLE_RATE, Timings(0.1, 0.2, 1.0, 0.5, 2.0), np.zeros((1, 100), np.float32))


def joined_slowly(pieces: list[Samples], overlap: int) -> list[float]:
    """The cross-fade sample by sample, from its definition."""
    out = [float(x) for x in pieces[0]]
    for piece in pieces[1:]:
        n = min(overlap, len(out), len(piece))
        for i in range(n):
            share = i / (n - 1) if n > 1 else 0.0
            at = len(out) - n + i
            out[at] = out[at] * (1 - share) + float(piece[i]) * share
        out += [float(x) for x in piece[n:]]
    return out


@given(PIECES, st.integers(0, 20))
def test_cross_fade_equals_its_definition(pieces: list[Samples], overlap: int) -> None:
    """Every sample is the one that a slow loop gives, also where pieces are shorter than the overlap."""
    joined = cross_fade(pieces, seconds=overlap / 1000, sample_rate=1000)
    expected = joined_slowly(pieces, overlap)
    assert joined.dtype == np.float32
    assert len(joined) == len(expected)
    np.testing.assert_allclose(joined, expected, atol=1e-6)


@given(PIECES, st.integers(0, 20))
def test_a_seam_gives_in_parts_what_cross_fade_gives_at_once(pieces: list[Samples], overlap: int) -> None:
    """To the bit, also where pieces are shorter than the overlap; nothing given is taken back."""
    seam = Seam(overlap / 1000, 1000)
    parts = [seam.join(piece, last=index == len(pieces) - 1) for index, piece in enumerate(pieces)]
    assert np.array_equal(np.concatenate(parts), cross_fade(pieces, overlap / 1000, 1000))
    assert all(len(part) <= len(piece) + overlap for part, piece in zip(parts, pieces, strict=True))


def test_a_seam_holds_back_no_more_than_the_overlap() -> None:
    """A listener gets all of the first piece but what the second is faded into."""
    assert len(Seam(0.01, 1000).join(np.zeros(100, np.float32), last=False)) == 90


@given(PIECES)
def test_cross_fade_never_passes_the_loudest_piece(pieces: list[Samples]) -> None:
    """The fades add up to one, so joining cannot clip."""
    peak = max(np.abs(piece).max() for piece in pieces)
    assert np.abs(cross_fade(pieces, 0.01, 1000)).max() <= peak + 1e-6


def test_one_piece_is_handed_back_as_it_is() -> None:
    """Nothing to join, nothing to change."""
    piece = np.linspace(-1, 1, 50, dtype=np.float32)
    assert cross_fade([piece]) is piece


def test_stages_add_up_to_the_total() -> None:
    """What is left over is shown as a stage of its own."""
    timings = Timings(0.1, 0.2, 1.0, 0.5, 2.0)
    assert timings.other == pytest.approx(0.2)
    assert sum(timings.stages().values()) == pytest.approx(timings.total)
    assert [*timings.stages()] == ["reference", "text", "sampling", "vocoder", "other"]


def test_timings_add_up_and_are_shared_stage_by_stage() -> None:
    """Two thirds and one third of a request are the request."""
    timings = Timings(0.1, 0.2, 1.0, 0.5, 2.0)
    both = timings.share(2 / 3) + timings.share(1 / 3)
    assert dataclasses.astuple(both) == pytest.approx(dataclasses.astuple(timings))


def test_rtf_is_time_to_make_over_time_to_play() -> None:
    """Two seconds of work for four of audio is 0.5."""
    spoken = audio(np.zeros(4 * SAMPLE_RATE, np.float32))
    assert (spoken.seconds, spoken.rtf) == (4.0, 0.5)


def test_saved_audio_reads_back_within_a_16_bit_step(tmp_path: Path) -> None:
    """24 kHz, mono, 16 bit, and samples beyond full scale clipped instead of wrapped."""
    samples = np.array([0.0, 0.5, -0.5, 1.5, -3.0, 0.25], np.float32)
    audio(samples).save(tmp_path / "a.wav")
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert (rate, soundfile.info(tmp_path / "a.wav").subtype) == (SAMPLE_RATE, "PCM_16")
    np.testing.assert_allclose(read, np.clip(samples, -1, 1), atol=2 / 32768)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_saving_replaces_an_older_file_and_leaves_default_permissions(tmp_path: Path) -> None:
    """A second run overwrites, and others can read the result as they could any new file."""
    target, plain = tmp_path / "a.wav", tmp_path / "plain"
    target.write_bytes(b"old")
    plain.write_bytes(b"")
    audio(np.zeros(10, np.float32)).save(str(target))
    assert target.read_bytes()[:4] == b"RIFF"
    assert target.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    "name", ["", "gone/a.wav", "file/a.wav", "n" * 300 + ".wav", "nul\0.wav", "folder", "pipe"]
)
def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """Missing folder, folder in place of a file, special file, impossible name: one error, the folder
    unchanged."""
    import os

    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / name if name else Path()
    with pytest.raises(OutputError, match="output"):
        audio(np.zeros(10, np.float32)).save(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_device_is_never_replaced_by_a_file() -> None:
    """As root, renaming a WAV onto /dev/null would succeed."""
    with pytest.raises(OutputError, match="not a regular file"):
        check_output(Path("/dev/null"))


def test_a_failed_write_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills while writing: the old file is whole and no half-written one lies beside it."""
    target = tmp_path / "a.wav"
    target.write_bytes(b"old")

    def full(path: Path, data: bytes) -> int:
        path.open("wb").close()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        audio(np.zeros(10, np.float32)).save(target)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_timings_cannot_be_changed() -> None:
    """A measured time stays as it was measured."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Timings(0, 0, 0, 0, 0).total = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "container", "subtype", "exact"),
    [
        ("a.wav", "WAV", "PCM_16", True),
        ("a.FLAC", "FLAC", "PCM_16", True),
        ("a.ogg", "OGG", "VORBIS", False),
        ("a.opus", "OGG", "OPUS", False),
        ("a.mp3", "MP3", "MPEG_LAYER_III", False),
    ],
)
def test_the_suffix_names_the_format(
    tmp_path: Path, name: str, container: str, subtype: str, exact: bool
) -> None:
    """The file is what it is called, reads back as what was saved, and is what `encode` gives."""
    t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    samples = (0.3 * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    audio(samples).save(tmp_path / name)
    info = soundfile.info(tmp_path / name)
    assert (info.format, info.subtype, info.samplerate, info.channels) == (container, subtype, 24_000, 1)
    read, _ = soundfile.read(tmp_path / name, dtype="float32")
    assert len(read) == pytest.approx(len(samples), abs=0 if exact else 4000)
    assert np.std(read) == pytest.approx(np.std(samples), rel=0.05)
    if exact:
        assert (tmp_path / name).read_bytes() == audio(samples).encode(container.lower())


def test_raw_pcm_is_16_bit_little_endian(tmp_path: Path) -> None:
    """No header, two bytes a sample: for a socket or a player that is told so."""
    samples = np.array([0.0, 0.5, -0.5, 1.5, -3.0], np.float32)
    audio(samples).save(tmp_path / "a.pcm")
    expected = np.array([0, 16384, -16384, 32767, -32768], "<i2")
    np.testing.assert_allclose(np.frombuffer((tmp_path / "a.pcm").read_bytes(), "<i2"), expected, atol=1)
    assert audio(samples).encode("pcm") == (tmp_path / "a.pcm").read_bytes()


def test_a_minute_and_more_is_encoded_by_every_codec() -> None:
    """The Vorbis encoder of libsndfile overflows its stack where it is given all at once."""
    samples = (0.1 * np.random.default_rng(0).standard_normal(120 * SAMPLE_RATE)).astype(np.float32)
    for name in ("ogg", "opus", "flac"):
        assert soundfile.info(io.BytesIO(audio(samples).encode(name))).duration == pytest.approx(120, abs=0.2)


@pytest.mark.parametrize("name", ["a.txt", "a", "a.wav.bak", ".wav", "wav"])
def test_a_suffix_that_names_no_format_is_refused(tmp_path: Path, name: str) -> None:
    """Never a WAV by another name; the cure lists what there is. A format that is named wins."""
    spoken = audio(np.zeros(100, np.float32))
    with pytest.raises(OutputError, match=r"expected one of \.wav .*\.opus"):
        spoken.save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    spoken.save(tmp_path / name, "flac")
    assert (tmp_path / name).read_bytes()[:4] == b"fLaC"


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """By name, before anything is written."""
    for format in ("aac", "WAV", "", "../x"):
        with pytest.raises(OutputError, match="expected one of wav, flac"):
            audio(np.zeros(100, np.float32)).encode(format)


def test_a_read_only_file_stays(tmp_path: Path) -> None:
    """Also for root, who may write it: somebody has said that it shall not change."""
    target = tmp_path / "a.wav"
    target.write_bytes(b"mine")
    target.chmod(0o444)
    with pytest.raises(OutputError, match="read-only"):
        audio(np.zeros(10, np.float32)).save(target)
    assert target.read_bytes() == b"mine"
