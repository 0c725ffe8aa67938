"""What is meant for a CUDA card, as far as a CPU can prove it: on a made-up card that records and replays."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from engine import Engine, Options, Voice
from engine.optimizations import buckets, compile
from engine.requests import Request
from engine.synthesis import Progress
from tests.unit import card

GRAPHS = {"graphs": True, "buckets": True, "hoist": True}
TEXTS = ["Hello there, chat!", "Hi.", "Hello there, chat!", "A longer text than the one before it was."]
COMPANIONS: list[dict[str, Any]] = [
    {"guidance": "separate"},
    {"guidance": "reuse", "nfe": 4},
    {"guidance": "interval", "solver": "heun", "nfe": 8},
    {"precision": "bf16", "vocoder_precision": "bf16"},
    {"int8": "dynamic"},
    {"attention": "math"},
]


def distance(one: Any, other: Any) -> float:
    """Relative L2."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def short_of_breath(tts: Engine, seconds: float) -> Engine:
    """The engine, with a voice that says so much at a time at most: few lengths to warm up."""
    parts = tts._open()
    tts._parts = dataclasses.replace(
        parts, checkpoint=dataclasses.replace(parts.checkpoint, max_seconds=seconds)
    )
    return tts


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[card.TapeRecorder]:
    """The recorders of every engine that is loaded in this test: of the transformer, then of the vocoder."""
    return card.insert(monkeypatch)


@pytest.mark.usefixtures("recorders")
@pytest.mark.parametrize("companions", [{}, *COMPANIONS], ids=str)
def test_replayed_speech_is_that_of_its_code(
    tiny: Callable[..., Engine], voice: Voice, companions: dict[str, Any]
) -> None:
    """Other words and noise through the same recordings, and everything that was asked for was seen."""
    plain, replayed = tiny(buckets=True, hoist=True, **companions), tiny(**GRAPHS, **companions)
    for seed, words in enumerate(TEXTS):
        expected, audio = (
            plain.synthesize(words, voice, seed=seed),
            replayed.synthesize(words, voice, seed=seed),
        )
        assert distance(expected.mel, audio.mel) <= 1e-4
        assert distance(expected.samples, audio.samples) <= 1e-4
    assert {name: proof for name, proof in replayed.evidence().items() if proof.proven is not True} == {}


def test_every_recording_reads_the_same_buffers_and_nothing_is_recorded_after_the_warm_up(
    tiny: Callable[..., Engine], voice: Voice, recorders: list[card.TapeRecorder]
) -> None:
    """One set of addresses, for all lengths and all sizes of a batch."""
    one = short_of_breath(tiny(**GRAPHS, batch=2, nfe=1), 9.0)
    lengths = one.warmup(voice)
    graphed: Any = one._open().backbone._run  # type: ignore[attr-defined]
    addresses = [
        {graph.inputs[place].data_ptr() for graph in graphed._recorded.values()} for place in range(5)
    ]
    assert [len(found) for found in addresses] == [1] * 5
    assert len(graphed._recorded) == 2 * len(lengths)
    before = [len(recorder.tapes) for recorder in recorders]
    for words in TEXTS:
        one.synthesize(words, voice)
    one.synthesize_batch([Request(words, voice) for words in TEXTS])
    assert [len(recorder.tapes) for recorder in recorders] == before
    for recorder in recorders:
        assert any(tape.replays for tape in recorder.tapes)


@pytest.mark.usefixtures("recorders")
def test_threads_take_turns_at_the_recordings(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Each gets its own speech, though all share the buffers."""
    one = tiny(**GRAPHS)
    alone = [one.synthesize(words, voice, seed=seed).samples.tobytes() for seed, words in enumerate(TEXTS)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(one.synthesize, words, voice, seed=seed) for seed, words in enumerate(TEXTS)]
        assert [job.result().samples.tobytes() for job in jobs] == alone


@pytest.mark.usefixtures("recorders")
def test_what_replays_give_belongs_to_the_caller(tiny: Callable[..., Engine]) -> None:
    """The next replay fills the same tensor; guidance holds on to the last one."""
    one = tiny(**GRAPHS)
    graphed: Any = one._open().backbone._run  # type: ignore[attr-defined]
    hoisted: Any = one._open().backbone
    row, rope = hoisted._modulations[:1], hoisted.rope(128)
    given, mask = (
        torch.randn(1, 128, hoisted._transformer.proj_out.in_features),
        torch.ones(1, 128, dtype=torch.bool),
    )
    with torch.inference_mode():
        first = graphed(torch.randn(1, 128, 100), given, row, mask, rope)
        kept = first.clone()
        second = graphed(torch.randn(1, 128, 100), given, row, mask, rope)
    assert torch.equal(first, kept)
    assert not torch.equal(first, second)


class Unread(torch.overrides.TorchFunctionMode):
    """No tensor in here is asked for its numbers."""

    READS = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in self.READS:
            raise card.HostWaitError(func.__name__)
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def unread() -> Iterator[Callable[[Progress], None]]:
    """Reports progress, and forbids waiting from the first evaluation of a piece to its last."""
    with contextlib.ExitStack() as stack:
        between = contextlib.ExitStack()
        stack.callback(between.close)

        def report(now: Progress) -> None:
            if now.step == 1:
                between.enter_context(Unread())
                between.enter_context(card.NoWaiting())
            if now.step == now.steps:
                between.close()

        yield report


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"buckets": True},
        {"hoist": True, "buckets": True, "precision": "bf16"},
        {"guidance": "reuse", "solver": "heun"},
        {"guidance": "interval", "hoist": True},
        {"guidance": "separate", "schedule": "epss", "nfe": 7},
    ],
    ids=str,
)
def test_the_host_never_waits_between_steps(
    tiny: Callable[..., Engine], voice: Voice, options: dict[str, Any]
) -> None:
    """No number is read, nothing is copied back: all steps can be launched ahead of a card."""
    one = tiny(**{"nfe": 8, **options})
    with unread() as report:
        one.synthesize(TEXTS[0], voice, progress=report)


def test_a_wait_between_steps_would_be_seen(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the dispatcher, and by the name of the method where a CPU has nothing to dispatch."""
    from engine import sampler

    real = sampler.Guided.__call__
    for wait in (lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: x[x > 0], lambda x: bool(x.any())):

        def waiting(self: Any, x: Any, evaluation: int, wait: Callable[[Any], Any] = wait) -> Any:
            wait(x)
            return real(self, x, evaluation)

        monkeypatch.setattr(sampler.Guided, "__call__", waiting)
        with pytest.raises(card.HostWaitError), unread() as report:
            tiny(nfe=3).synthesize(TEXTS[0], voice, progress=report)


@pytest.fixture
def fresh_dynamo() -> Iterator[None]:
    """Dynamo counts compilations by process."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_dynamo")
def test_one_whole_graph_serves_every_length(tiny: Callable[..., Engine], voice: Voice) -> None:
    """A whole evaluation is traced without a break, and no bucket of a request compiles it again."""
    one = tiny(buckets=True, hoist=True, nfe=1)
    hoisted: Any = one._open().backbone
    width, graphs = hoisted._transformer.proj_out.in_features, list[Any]()

    def keep(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    whole = torch.compile(type(hoisted).forward, backend=keep, fullgraph=True, dynamic=True)
    with torch.inference_mode():
        for frames in range(129, 3000, 61):  # 128 is this model's width too
            length = buckets.length(frames)
            rope, mask = hoisted.rope(length), torch.ones(1, length, dtype=torch.bool)
            x, given = torch.randn(1, length, 100), torch.randn(2, length, width)
            whole(hoisted, x, given, hoisted._modulations[:1], mask, rope)
    assert len(graphs) == 1


@pytest.mark.usefixtures("fresh_dynamo")
def test_blocks_and_vocoder_are_compiled_without_a_break_for_all_buckets(
    tiny: Callable[..., Engine], voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the engine compiles them: a graph each, whatever the length."""
    graphs: dict[str, int] = {}

    def counting(mode: str, part: str, seen: Any) -> Any:
        def backend(graph: Any, inputs: Any) -> Any:
            graphs[part] = graphs.get(part, 0) + 1

            def run(*arguments: Any) -> Any:
                seen.add(f"graphs {part}")
                return graph.forward(*arguments)

            return run

        return backend

    monkeypatch.setattr(compile, "_counting_backend", counting)
    one = short_of_breath(tiny(compile="default", buckets=True, hoist=True, nfe=1), 12.0)
    one.synthesize(TEXTS[0], voice)
    one.synthesize(TEXTS[3], voice)
    made = dict(graphs)
    assert made["transformer"] == 1
    one.warmup(voice)
    assert graphs["transformer"] == 1
    assert graphs["vocoder"] <= 2  # torch guards its choice of a convolution by size
    assert one.evidence()["compile"].proven is True


def test_graphs_are_for_a_card(tiny: Callable[..., Engine]) -> None:
    """Refused before anything is loaded."""
    from engine.errors import DeviceError, OptionsError

    with pytest.raises(DeviceError, match="graphs=True on cpu"):
        tiny(**GRAPHS)
    for missing in ("buckets", "hoist"):
        with pytest.raises(OptionsError, match="buckets and hoist with graphs"):
            Options(**{**GRAPHS, missing: False})  # type: ignore[arg-type]
