"""Seeds reproduce: across pieces, calls and threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, Voice

LONG = (
    "The first sentence is here. And the second one, a little longer, follows it. Then comes a third! Yes. "
)


def requests(clip: Path, voice: Voice) -> list[tuple[str, Voice | None, int]]:
    """Different words, voices and seeds; one of several pieces."""
    samples, rate = voice.read()
    other = Voice(samples[::-1].copy(), voice.text, rate)
    texts = ["Hello there, chat!", "你好，世界。", "Hi.", LONG * 3, "Mixed 中文 text.", "Another one to say."]
    return [(words, v, seed) for seed, words in enumerate(texts) for v in (voice, other)]


@pytest.mark.parametrize("options", [{}, {"reference_cache": True}], ids=["plain", "cached"])
def test_threads_give_what_one_after_the_other_gives(
    tiny: Callable[..., Engine], clip: Path, voice: Voice, options: dict[str, Any]
) -> None:
    """Text embeddings, noise and voices of requests at the same time do not mix; the first calls are
    concurrent too."""
    work = requests(clip, voice)
    together, alone = tiny(**options), tiny(**options)

    def say(one: Engine, request: tuple[str, Voice | None, int]) -> bytes:
        words, speaker, seed = request
        return one.synthesize(words, speaker, seed=seed).samples.tobytes()

    with ThreadPoolExecutor(4) as pool:
        parallel = list(pool.map(lambda request: say(together, request), work))
    serial = [say(alone, request) for request in work]
    assert parallel == serial
    assert len(set(serial)) == len(work)
    counted = together._seen.counts
    assert counted["requests"] == len(work)
    assert counted["pieces"] == counted["decodes"]


def test_upstreams_per_thread_store_exists_before_threads_race_to_make_it(
    tiny: Callable[..., Engine],
) -> None:
    """Upstream makes it on first use; two first users would each lose the other's text embedding."""
    assert "_cache_local" in vars(tiny()._parts.model.transformer)  # type: ignore[union-attr]


def test_the_first_call_equals_the_hundredth(tiny: Callable[..., Engine], voice: Voice) -> None:
    """Nothing that is kept between calls changes the result, whatever was said before."""
    one = tiny(reference_cache=True)
    first = one.synthesize("Hello there, chat!", voice, seed=4).samples.tobytes()
    for seed in range(5):
        one.synthesize("Something else.", voice, seed=seed)
    assert one.synthesize("Hello there, chat!", voice, seed=4).samples.tobytes() == first


def test_several_pieces_reproduce(engine: Engine, voice: Voice) -> None:
    """Each piece draws from its own seed, none from a shared stream."""
    one, other = (engine.synthesize(LONG * 4, voice, seed=11) for _ in range(2))
    assert one.samples.tobytes() == other.samples.tobytes()
    assert one.samples.tobytes() != engine.synthesize(LONG * 4, voice, seed=12).samples.tobytes()


def test_another_process_gives_the_same_bytes(engine: Engine, clip: Path, voice: Voice) -> None:
    """No hidden state of this process takes part."""
    code = (
        "import sys, hashlib, torch, engine; torch.set_num_threads(int(sys.argv[2])); "
        "tts = engine.load('seeded-tiny', engine.Options(nfe=2), device='cpu'); "
        f"audio = tts.synthesize('Hello there, chat!', engine.Voice(sys.argv[1], {voice.text!r}), seed=7); "
        "print(hashlib.sha256(audio.samples.tobytes()).hexdigest())"
    )
    import hashlib

    import torch

    done = subprocess.run(
        [sys.executable, "-c", code, str(clip), str(torch.get_num_threads())],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    expected = engine.synthesize("Hello there, chat!", voice, seed=7).samples.tobytes()
    assert done.stdout.split()[-1] == hashlib.sha256(expected).hexdigest()


def test_two_threads_can_load_at_once(tiny_folder: Path) -> None:
    """In a fresh process, where both import upstream for the first time."""
    code = (
        "from concurrent.futures import ThreadPoolExecutor as Pool; import engine; load = engine.load\n"
        "options = engine.Options(nfe=1)\n"
        "def work(_): return load('seeded-tiny', options, device='cpu').synthesize('Hello.').seconds\n"
        "with Pool(4) as pool: print(len(list(pool.map(work, range(4)))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.strip() == "4", done.stderr
