"""Pieces -> mels: several sequences in one batch, grouped by length, padded, masked, and halved when memory
runs out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine import dit, sampler
from engine.errors import DeviceError
from engine.evidence import LOOKED_AT, Batch, Evaluation, Observations, Trace
from engine.optimizations import Parts
from engine.options import Options
from engine.pieces import Piece
from engine.vocoder import dtype_name

if TYPE_CHECKING:
    from torch import Tensor

Report = Callable[[int], None]
"""Told of every evaluation of the flow, counted from 1."""

ALIKE = 0.75
"""Sequences of one batch are at least this share of its longest: the rest would be computed for nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
    """What `sampler.sample` takes of several pieces."""

    reference_mel: Tensor  # [b, r, d]
    tokens: Tensor  # [b, nt]
    noise: Tensor  # [b, n, d]
    mask: Tensor | None  # [b, n]
    reference_frames: Tensor  # [b]


def collate(pieces: Sequence[Piece], length: int, always_masked: bool) -> Inputs:
    """Bring pieces to one length. Each one's noise is what it would be alone.

    Args:
        pieces: what goes together.
        length: n, the frames of the longest at least.
        always_masked: give a mask though nothing is padded, so that one compiled graph serves both.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    mels = [piece.reference.mel[0] for piece in pieces]
    device, channels = mels[0].device, mels[0].shape[1]
    frames = [piece.frames for piece in pieces]
    noise = [sampler.noise_like(piece.frames, channels, piece.seed, device)[0] for piece in pieces]
    noise[0] = torch.nn.functional.pad(noise[0], (0, 0, 0, length - len(noise[0])))
    padded = always_masked or min(frames) < length
    mask = torch.arange(length, device=device)[None] < torch.tensor(frames, device=device)[:, None]
    return Inputs(
        pad_sequence(mels, batch_first=True),
        pad_sequence([piece.tokens[0] for piece in pieces], batch_first=True, padding_value=-1),
        pad_sequence(noise, batch_first=True),
        mask if padded else None,
        torch.tensor([len(mel) for mel in mels], device=device),
    )


def groups(frames: Sequence[int], largest: int, maskable: bool) -> list[list[int]]:
    """Indices of the sequences that go through the transformer together, longest first.

    Args:
        frames: of each sequence.
        largest: sequences in a group at most.
        maskable: whether padding can be masked; else only sequences of one length are put together.
    """
    alike = ALIKE if maskable else 1.0
    groups: list[list[int]] = []
    for index in sorted(range(len(frames)), key=lambda index: -frames[index]):
        if groups and len(groups[-1]) < largest and frames[index] >= alike * frames[groups[-1][0]]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def sample(
    parts: Parts,
    pieces: Sequence[Piece],
    options: Options,
    seen: Observations,
    report: Report | None = None,
) -> list[tuple[Tensor, tuple[str, ...]]]:
    """The mel of each piece, [1, n, d], and a warning with each that had to be sampled in a smaller batch.

    Raises:
        DeviceError: memory does not hold a single piece.
    """
    try:
        return [(mel, ()) for mel in sample_batch(parts, pieces, options, seen, report)]
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(pieces) == 1:
            raise no_room(pieces[0], error) from error
    seen.add("failed batches")
    _release()  # out here, where the traceback no longer holds the tensors of the attempt
    middle = len(pieces) // 2
    warning = f"out of memory for a batch of {len(pieces)}: sampled in halves"
    halves = [
        *sample(parts, pieces[:middle], options, seen, report),
        *sample(parts, pieces[middle:], options, seen, report),
    ]
    return [(mel, (warning, *warnings)) for mel, warnings in halves]


def sample_batch(
    parts: Parts,
    pieces: Sequence[Piece],
    options: Options,
    seen: Observations,
    report: Report | None = None,
) -> list[Tensor]:
    """The generated mels of one batch, each [1, n, d] without the reference before it."""
    frames = [piece.frames for piece in pieces]
    longest = max(frames)
    length = longest if parts.bucket is None else parts.bucket(longest)
    inputs = collate(pieces, length, always_masked=parts.bucket is not None)
    row = frames.index(longest)
    opening = pieces[row].reference.mel.shape[1]
    trace, dtypes = Trace(options, row, slice(max(opening, longest - LOOKED_AT), longest)), set[str]()

    def on_step(evaluation: Evaluation) -> None:
        trace.add(evaluation)
        dtypes.add(dtype_name(evaluation.flow))
        if report is not None:
            report(len(trace.halves))

    mel = sampler.sample(
        parts.backbone,
        inputs.reference_mel,
        inputs.tokens,
        inputs.noise,
        sampler.time_grid(options, parts.device),
        options,
        on_step,
        mask=inputs.mask,
        reference_frames=inputs.reference_frames,
        around=parts.around,
    )
    trace.finish(mel)
    masked = min(frames) == length or dit.masks_attention(parts.model.transformer)
    seen.sampled(trace, dtypes, Batch(mel.shape[0], mel.shape[1], longest, masked))
    return [mel[i : i + 1, piece.reference.frames : piece.frames] for i, piece in enumerate(pieces)]


def no_room(piece: Piece, error: BaseException) -> DeviceError:
    """What to say where memory does not hold a single piece."""
    return DeviceError(
        f"{piece.name}out of memory for {piece.frames} frames ({str(error)[:200]})",
        "memory for one piece with its reference",
        "Use a shorter reference clip, or another device",
    )


def out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch, on a GPU or a CPU, or Python says that memory ran out."""
    import torch

    words = "can't allocate memory", "not enough memory", "out of memory"
    known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return known or any(word in str(error).lower() for word in words)


def _release() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
