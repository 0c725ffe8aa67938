"""Batches and buckets: padding changes nothing, for every architecture, and the mask is why."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from engine import Audio, Engine, Options, Request, Voice, dit, load, upstream
from engine.dit import embed_text
from engine.errors import DeviceError, EngineError, OptionsError, TextError

LOSSLESS = 1e-3
TEXTS = [
    "Hello there, chat!",
    "Hi.",
    "A longer text than the one before it was, and it goes on for a while, up to its last word.",
    "And one more, to be sure of it all.",
    "The last words must not be lost, not even one of them.",
    "And one more, to be sure of it, too.",
]
ARCHITECTURES = {
    "filler masked": {},
    "filler embedded": {"text_mask_padding": False},
    "average upsampling": {"text_embedding_average_upsampling": True},
}
"""What upstream's configurations and the voice in the box ask of the text embedding; the weights are the
same."""
PADDED = [{"batch": 4}, {"buckets": True}, {"batch": 6, "buckets": True}, {"batch": 6, "hoist": True}]


def distance(one: Any, other: Any) -> float:
    """Relative L2."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def requests(voice: Voice) -> list[Request]:
    """Mixed lengths, seeds and speeds, two voices."""
    samples, rate = voice.read()
    other = Voice(np.concatenate([samples[::-1], samples]), voice.text * 2, rate)
    speakers = [voice, other]
    return [Request(words, speakers[i % 2], seed=i, speed=1 + i / 10) for i, words in enumerate(TEXTS)]


def alone(one: Engine, work: list[Request]) -> list[Audio]:
    """Each by itself."""
    return [one.synthesize(r.words, r.voice, seed=r.seed, speed=r.speed) for r in work]


@pytest.fixture(scope="module")
def expected(architecture: Path, voice: Voice) -> list[Audio]:
    """Each request by itself, nothing padded."""
    return alone(load(architecture, Options(nfe=2), device="cpu"), requests(voice))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: Any) -> Path:
    """The tiny weights under another configuration."""
    folder = tmp_path_factory.mktemp("architecture") / "tiny"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("voice.json"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["model"]["arch"] |= ARCHITECTURES[request.param]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.mark.parametrize("options", PADDED, ids=str)
def test_padding_changes_nothing(
    architecture: Path, expected: list[Audio], voice: Voice, options: dict[str, Any]
) -> None:
    """Every request of a mixed batch is what it is alone, to its last frame; the batches were real."""
    padded = load(architecture, Options(nfe=2, **options), device="cpu")
    for single, audio in zip(expected, padded.synthesize_batch(requests(voice)), strict=True):
        assert audio.mel.shape == single.mel.shape
        assert distance(single.mel, audio.mel) <= LOSSLESS
        assert distance(single.mel[-5:], audio.mel[-5:]) <= LOSSLESS
        assert distance(single.samples, audio.samples) <= LOSSLESS
    proofs = padded.evidence()
    assert proofs["buckets"].proven is True
    assert proofs["batch"].proven is True
    assert any(batch.length > batch.longest or batch.size > 1 for batch in padded._seen.batches)


@pytest.mark.slow
def test_padding_changes_nothing_in_compiled_blocks(tiny: Callable[..., Engine], voice: Voice) -> None:
    """With mask and without, one sequence and several: the graphs are right and they ran."""
    torch._dynamo.reset()
    work = requests(voice)[2:]
    compiled = tiny(batch=4, buckets=True, compile="default")
    for single, audio in zip(alone(tiny(), work), compiled.synthesize_batch(work), strict=True):
        assert distance(single.mel, audio.mel) <= LOSSLESS
    assert compiled.evidence()["compile"].proven is True
    torch._dynamo.reset()


@pytest.mark.parametrize("options", PADDED[:3], ids=str)
def test_without_the_mask_padding_shows(
    tiny: Callable[..., Engine], voice: Voice, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old fault, `attn_mask_enabled: False`: results move and the evidence says why."""
    monkeypatch.setattr(dit, "mask_attention", lambda transformer: None)
    work = requests(voice)[:4]
    padded = tiny(**options)
    moved = [
        distance(expected.mel, audio.mel)
        for expected, audio in zip(alone(tiny(), work), padded.synthesize_batch(work), strict=True)
    ]
    assert max(moved) > 10 * LOSSLESS
    name = "buckets" if "buckets" in options else "batch"
    assert padded.evidence()[name].proven is False
    assert "not masked" in padded.evidence()[name].observed


def test_upstreams_own_embedding_of_a_padded_text_is_another(architecture: Path) -> None:
    """Why each text is embedded alone: with its filler, upstream's batch gives it other numbers."""
    transformer = load(architecture, Options(), device="cpu")._parts.model.transformer  # type: ignore[union-attr]
    tokens = torch.tensor([[5, 9, 20, 7, 31], [8, 30, 4, -1, -1]])
    mask = torch.arange(12)[None] < torch.tensor([[12], [8]])
    with torch.inference_mode():
        ours = embed_text(transformer, tokens, mask, drop_text=False)
        single = transformer.text_embed(tokens[1:, :3], seq_len=8)
        theirs = transformer.text_embed(tokens, seq_len=torch.tensor([12, 8]))
    assert torch.equal(ours[1:, :8], single)
    assert not ours[1, 8:].any()
    assert distance(single[0].numpy(), theirs[1, :8].numpy()) > LOSSLESS


@pytest.mark.parametrize("options", [{"batch": 4}, {"buckets": True}], ids=str)
def test_the_voice_in_the_box_is_the_same_in_a_batch(options: dict[str, Any]) -> None:
    """Trained weights, a duration table, average upsampling, four voices."""
    plain, padded = (load("box", Options(nfe=4, **more), device="cpu") for more in ({}, options))
    voices = list(plain.checkpoint.references)
    work = [Request(words, voices[i % len(voices)], seed=i) for i, words in enumerate(TEXTS[:4])]
    for expected, audio in zip(alone(plain, work), padded.synthesize_batch(work), strict=True):
        assert distance(expected.mel, audio.mel) <= LOSSLESS


@pytest.fixture(scope="module")
def e2(tiny_folder: Path, tmp_path_factory: Any) -> Path:
    """A flat UNet transformer, whose convolutions take no mask."""
    folder = tmp_path_factory.mktemp("e2")
    arch = {"dim": 64, "depth": 4, "heads": 2, "ff_mult": 2, "text_mask_padding": False, "pe_attn_head": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"backbone": "UNetT", "arch": arch}}))
    (folder / "vocos").symlink_to(tiny_folder / "vocos")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = upstream.build_model(arch, "UNetT", upstream.shipped("infer/examples/vocab.txt"))
    save_file({f"ema_model.{k}": v for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return folder


def test_e2_tts_batches_what_is_of_one_length_and_refuses_buckets(e2: Path, voice: Voice) -> None:
    """It cannot be padded: equal lengths go together, others alone, and all are what they are alone."""
    one = load(e2, Options(nfe=2, batch=4), device="cpu")
    work = [
        Request(words, voice, seed=i) for i, words in enumerate(["Hello there!", "Good morning.", TEXTS[2]])
    ]
    work.append(Request("Hello chat!!", voice, seed=7))  # as long as the first
    for expected, audio in zip(alone(one, work), one.synthesize_batch(work), strict=True):
        assert distance(expected.mel, audio.mel) <= LOSSLESS
    assert {batch.size for batch in one._seen.batches} == {1, 2}
    with pytest.raises(OptionsError, match="UNetT"):
        load(e2, Options(buckets=True), device="cpu")


def test_a_batch_of_one_is_the_single_run_to_the_bit(engine: Engine, voice: Voice) -> None:
    """The default: nothing is padded, nothing is masked."""
    work = [*requests(voice)[:2], Request(" ".join(TEXTS), voice, seed=9)]  # the last in two pieces
    for expected, audio in zip(alone(engine, work), engine.synthesize_batch(work), strict=True):
        assert expected.samples.tobytes() == audio.samples.tobytes()
        assert expected.mel.tobytes() == audio.mel.tobytes()


def test_no_requests_give_no_audio(engine: Engine) -> None:
    """An empty queue is no fault."""
    assert engine.synthesize_batch([]) == []


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Request(""), TextError),
        (Request("Hello.", "nobody"), OptionsError),
        (Request("Hello.", seed=-1), OptionsError),
        (Request("Hello.", speed=9), OptionsError),
    ],
    ids=["text", "voice", "seed", "speed"],
)
def test_an_error_names_its_request_before_any_work(
    tiny: Callable[..., Engine], voice: Voice, bad: Request, error: type[EngineError]
) -> None:
    """The third of three; the others were not sampled for nothing."""
    one = tiny(batch=2)
    with pytest.raises(error, match=r"^request 2: "):
        one.synthesize_batch([Request("Hello.", voice), Request("Hi there.", voice), bad])
    assert not one._seen.counts["evaluations"]


def test_a_nan_names_its_request(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one whose wave it is in, not the batch."""
    one = tiny(batch=2)
    vocoder = one._parts.vocoder  # type: ignore[union-attr]
    decode = vocoder.decode
    monkeypatch.setattr(vocoder, "decode", lambda mel: decode(mel) / (mel.shape[2] > 90))
    with pytest.raises(EngineError, match=r"^request 1: .*NaN"):
        one.synthesize_batch([Request(TEXTS[2], voice), Request("Hello there.", voice)])


class Crowded:
    """A backbone in a memory that holds `room` sequences."""

    def __init__(self, backbone: Any, room: int) -> None:
        self.backbone, self.room = backbone, room

    @contextlib.contextmanager
    def __call__(self, cond: torch.Tensor, *rest: Any) -> Iterator[Any]:
        with self.backbone(cond, *rest) as evaluate:

            def crowded(x: torch.Tensor, *more: Any) -> torch.Tensor:
                flow = evaluate(x, *more)
                if x.shape[0] > self.room:  # at the end of a call: as late as it can be noticed
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
                return flow

            yield crowded


@pytest.mark.parametrize("options", [{}, {"hoist": True}], ids=str)
def test_out_of_memory_gives_the_result_and_a_warning(
    tiny: Callable[..., Engine], voice: Voice, options: dict[str, Any]
) -> None:
    """Four do not fit, two do: same speech, said in `Audio.warnings`, proofs intact."""
    one = tiny(batch=4, **options)
    crowd(one, 2)
    work = [Request("Hello there, chat!", voice, seed=seed) for seed in range(4)]
    for expected, audio in zip(alone(tiny(), work), one.synthesize_batch(work), strict=True):
        assert distance(expected.mel, audio.mel) <= LOSSLESS
        assert audio.warnings == ("out of memory for a batch of 4: sampled in halves",)
    assert {proof.proven for proof in one.evidence().values()} == {True}


def test_memory_that_holds_nothing_is_an_error_of_ours(tiny: Callable[..., Engine], voice: Voice) -> None:
    """With the request's index in a batch, without one alone."""
    one = tiny(batch=2)
    crowd(one, 0)
    with pytest.raises(DeviceError, match=r"^request 0: out of memory"):
        one.synthesize_batch([Request("Hello there, chat!", voice)] * 2)
    with pytest.raises(DeviceError, match=r"^out of memory"):
        one.synthesize("Hello there, chat!", voice)


def crowd(one: Engine, room: int) -> None:
    """Leave the engine room for so many sequences at once."""
    import dataclasses

    parts = one._open()
    one._parts = dataclasses.replace(parts, backbone=Crowded(parts.backbone, room))


def test_the_time_of_a_batch_is_shared_among_its_requests(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Together they took what the batch took, and the longer one more of it."""
    short, long = tiny(batch=2).synthesize_batch([Request(TEXTS[3], voice), Request(TEXTS[4], voice)])
    assert 0 < short.timings.sampling < long.timings.sampling
    for audio in (short, long):
        assert sum(audio.timings.stages().values()) == pytest.approx(audio.timings.total)
        assert audio.timings.other >= 0


@pytest.mark.parametrize("hoist", [False, True])
def test_warm_up_meets_every_length_that_a_request_can_have(
    tiny: Callable[..., Engine], voice: Voice, hoist: bool
) -> None:
    """After it no request brings a length that the transformer has not seen; the proofs stay."""
    one = tiny(nfe=1, buckets=True, hoist=hoist)
    lengths = one.warmup(voice)
    assert {batch.length for batch in one._seen.batches} == set(lengths)
    assert len(lengths) <= 20
    for words in (*TEXTS[:3], " ".join(TEXTS)):
        one.synthesize(words, voice)
    assert {batch.length for batch in one._seen.batches} == set(lengths)
    assert {proof.proven for proof in one.evidence().values()} == {True}


def test_warm_up_without_buckets_is_one_run(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Of any length: there is no set of them to prepare."""
    one = tiny()
    assert len(one.warmup(voice)) == one._seen.counts["pieces"] == 1
