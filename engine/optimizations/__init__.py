"""One optimisation, one module, named after its option.

`apply(parts, options, seen)` gives the parts with the optimisation in them: off, the very same object. What
it does is counted in `seen` while it works, and `evidence(options, seen)` judges by that alone.
`check_device`, where a module has one, refuses what a device cannot do before anything is loaded. The order
in which they are applied is `engine.loading.STEPS`.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.reading import raw
from engine.vocoder import at_once

if TYPE_CHECKING:
    from torch import Tensor

    from engine.audio import Samples
    from engine.checkpoint import Checkpoint
    from engine.durations import Durations
    from engine.reference import Reference, Voice
    from engine.sampler import Backbone
    from engine.vocoder import Vocoder

Decoding = Callable[["Tensor", Callable[["Tensor"], "Tensor"]], Callable[[], "tuple[Samples, Samples]"]]
"""(mel [b, n, d], how its wave is made) -> what gives wave and mel once they are there."""

Around = Callable[[], contextlib.AbstractContextManager[Any]]
"""Makes a context that is entered around each call of the transformer."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an engine works with. An optimisation replaces a part, or changes a module of upstream's in place.

    Attributes:
        checkpoint: where it all came from.
        device: where the modules are.
        model: upstream's `CFM`; its weights and its mel front end.
        vocos: upstream's `Vocos`.
        backbone: opens a batch of the transformer.
        vocoder: mel -> wave.
        prepare: reference clip -> conditioning.
        durations: the voice's own front end, where it has one.
        around: entered around each call of the transformer.
        bucket: frames -> the length that they are padded to; None where nothing is padded.
        batch: sequences that are sampled together at most.
        opening: bytes of a text's first piece at most; 0 where it is like any other.
        reading: text -> the text as it is read aloud.
        decoding: begins the wave of a mel, and gives what waits for it.
        named: what a stage is entered with, by its name.
    """

    checkpoint: Checkpoint
    device: str
    model: Any
    vocos: Any
    backbone: Backbone
    vocoder: Vocoder
    prepare: Callable[[Voice], Reference]
    durations: Durations | None = None
    around: tuple[Around, ...] = ()
    bucket: Callable[[int], int] | None = None
    batch: int = 1
    opening: int = 0
    reading: Callable[[str], str] = raw
    decoding: Decoding = at_once
    named: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
