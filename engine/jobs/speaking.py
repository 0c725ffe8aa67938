"""Items -> audio files in memory: what one process does, on this machine or on one of a cluster."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import CheckpointError, EngineError
from engine.jobs.items import Item
from engine.memory import bound_caches
from engine.options import Options
from engine.reference import Voice
from engine.requests import Request, pick

if TYPE_CHECKING:
    from engine.audio import Audio
    from engine.checkpoint import Checkpoint
    from engine.synthesis import Engine

TOGETHER = 4
"""Batches that are handed over at once, so that there are texts of similar length to put together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Setup:
    """What every process of a job loads, and how it writes.

    Attributes:
        checkpoint, vocoder, device, options: as `engine.load` takes them.
        format: one of `engine.audio.FORMATS`.
        digest: of the weights, which must be the same on each machine.
        threads: CPU threads of a process; by default as torch decides.
        voice: of items that name none; by default the checkpoint's first.
    """

    checkpoint: str
    vocoder: Path | None
    device: str | None
    options: Options
    format: str
    digest: str
    threads: int | None = None
    voice: Voice | str | None = None

    def portable(self) -> Setup:
        """The same with the clip in memory, so that machines without its file can speak with it.

        Raises:
            ReferenceClipError: the clip cannot be used.
        """
        if not isinstance(self.voice, Voice):
            return self
        samples, rate = self.voice.read()
        return dataclasses.replace(self, voice=Voice(samples, self.voice.text, rate))

    def request(self, item: Item) -> Request:
        """What is asked of the engine for an item."""
        voice = item.request.voice if item.request.voice is not None else self.voice
        return dataclasses.replace(item.request, voice=voice)

    @property
    def together(self) -> int:
        """Items that are handed over at once."""
        return 1 if self.options.batch == 1 else TOGETHER * self.options.batch


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one item.

    Attributes:
        item: which one.
        content: the bytes of its file, or none if it failed.
        seconds, rtf: of its audio, as in `Audio`.
        warnings: as in `Audio`.
        error: why it failed, or empty.
        worker: the process that tried.
        unproven: toggles that this process has not seen to work by then, one sentence each.
    """

    item: Item
    content: bytes | None = None
    seconds: float = 0.0
    rtf: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str = ""
    worker: str = ""
    unproven: tuple[str, ...] = ()


def load(setup: Setup) -> Engine:
    """The engine of a process.

    Raises:
        CheckpointError: this machine's weights are not those of the machine that began the job.
        EngineError: as `engine.load`.
    """
    bound_caches()
    import engine
    from engine.checkpoint import find

    if setup.threads is not None:
        import torch

        torch.set_num_threads(setup.threads)
    found = find(setup.checkpoint, vocoder=setup.vocoder).digest()
    if found != setup.digest:
        raise CheckpointError(
            f"checkpoint {setup.checkpoint} of digest {found} on {socket.gethostname()}",
            f"the weights of digest {setup.digest} that the job began with",
            "Copy the same checkpoint to every machine",
        )
    return engine.load(setup.checkpoint, setup.options, device=setup.device, vocoder=setup.vocoder)


def speak(tts: Engine, items: Sequence[Item], setup: Setup) -> list[Outcome]:
    """Say some items, together where the engine batches; one that fails harms no other."""
    worker = f"{socket.gethostname()}:{os.getpid()}"
    outcomes = []
    for item, audio in _audios(tts, items, setup):
        if isinstance(audio, EngineError):
            outcomes.append(Outcome(item, error=str(audio), worker=worker))
            continue
        content = audio.encode(setup.format)
        outcomes.append(Outcome(item, content, audio.seconds, audio.rtf, audio.warnings, worker=worker))
    unproven = tuple(tts.unproven())
    return [dataclasses.replace(outcome, unproven=unproven) for outcome in outcomes]


def _audios(tts: Engine, items: Sequence[Item], setup: Setup) -> Iterator[tuple[Item, Audio | EngineError]]:
    """Each item with its audio, or with what is wrong with it."""
    if len(items) > 1:
        try:
            together = tts.synthesize_batch([setup.request(item) for item in items])
        except EngineError:
            for item in items:  # one of them is to blame, and the others shall be spoken
                yield from _audios(tts, [item], setup)
        else:
            yield from zip(items, together, strict=True)
        return
    for item in items:
        try:
            (audio,) = tts.synthesize_batch([setup.request(item)])
        except EngineError as error:
            given = error.given.removeprefix("request 0: ")
            yield item, type(error)(given, error.expected, error.cure)
        else:
            yield item, audio


def keys(items: Sequence[Item], setup: Setup, checkpoint: Checkpoint) -> dict[str, str]:
    """By name of an item, a hex digest of all that decides its audio: a change of any of it speaks it again.

    How many are sampled together decides nothing: a batch changes a result within rounding only.
    """

    @functools.cache
    def digest(voice: Voice | str | None) -> str:
        try:
            return pick(checkpoint.references, voice).digest()
        except EngineError:  # it will be said when the item is spoken
            return str(voice)

    common = {
        "options": {**dataclasses.asdict(setup.options), "batch": 1},
        "checkpoint": setup.digest,
        "format": setup.format,
    }
    contents = {
        item.name: {**common, "request": {**vars(request), "voice": digest(request.voice)}}
        for item, request in ((item, setup.request(item)) for item in items)
    }
    return {
        name: hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        for name, content in contents.items()
    }
