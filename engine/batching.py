"""Several sequences in one batch: grouped by length, padded, masked, and halved when memory runs out.

Upstream's shipped configurations leave `attn_mask_enabled` off, so that a padded batch attends to its
padding. The flag belongs to each block's attention processor and is read at every call: here it is set, and
the published class does the rest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine import sampler
from engine.errors import DeviceError
from engine.planning import Piece
from engine.reference import Reference

if TYPE_CHECKING:
    from torch import Tensor

ALIKE = 0.75
"""Sequences of one batch are at least this share of its longest: the rest would be computed for nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """One piece with all that its samples depend on; errors about it begin with `name`."""

    piece: Piece
    reference: Reference
    seed: int
    name: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What `sampler.sample` takes of several items."""

    reference_mel: Tensor  # [b, r, d]
    tokens: Tensor  # [b, nt]
    noise: Tensor  # [b, n, d]
    mask: Tensor | None  # [b, n]
    reference_frames: Tensor  # [b]


def collate(items: Sequence[Item], length: int, always_masked: bool) -> Batch:
    """Bring items to one length. Each one's noise is what it would be alone.

    Args:
        items: what goes together.
        length: n, the frames of the longest at least.
        always_masked: give a mask though nothing is padded, so that one compiled graph serves both.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    mels = [item.reference.mel[0] for item in items]
    device, channels = mels[0].device, mels[0].shape[1]
    frames = [item.piece.frames for item in items]
    noise = [
        sampler.noise_like(n, channels, item.seed, device)[0] for n, item in zip(frames, items, strict=True)
    ]
    noise[0] = torch.nn.functional.pad(noise[0], (0, 0, 0, length - len(noise[0])))
    padded = always_masked or min(frames) < length
    mask = torch.arange(length, device=device)[None] < torch.tensor(frames, device=device)[:, None]
    return Batch(
        pad_sequence(mels, batch_first=True),
        pad_sequence([item.piece.tokens[0] for item in items], batch_first=True, padding_value=-1),
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
    made: list[list[int]] = []
    for index in sorted(range(len(frames)), key=lambda index: -frames[index]):
        if made and len(made[-1]) < largest and frames[index] >= alike * frames[made[-1][0]]:
            made[-1].append(index)
        else:
            made.append([index])
    return made


def halving(
    items: Sequence[Item], sample: Callable[[Sequence[Item]], list[Tensor]]
) -> list[tuple[Tensor, tuple[str, ...]]]:
    """What `sample` gives for `items`, and a warning with each that had to be sampled in a smaller batch.

    Raises:
        DeviceError: memory does not hold a single item.
    """
    try:
        return [(mel, ()) for mel in sample(items)]
    except (RuntimeError, MemoryError) as error:
        if not _out_of_memory(error):
            raise
        if len(items) == 1:
            raise DeviceError(
                f"{items[0].name}out of memory for {items[0].piece.frames} frames ({str(error)[:200]})",
                "memory for one piece with its reference",
                "Use a shorter reference clip, or another device",
            ) from error
    _release()  # out here, where the traceback no longer holds the tensors of the attempt
    middle = len(items) // 2
    warning = f"out of memory for a batch of {len(items)}: sampled in halves"
    halves = [*halving(items[:middle], sample), *halving(items[middle:], sample)]
    return [(mel, (warning, *warnings)) for mel, warnings in halves]


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether torch, on a GPU or a CPU, or Python says that memory ran out."""
    import torch

    words = "can't allocate memory", "not enough memory", "out of memory"
    known = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
    return known or any(said in str(error).lower() for said in words)


def _release() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def maskable(transformer: Any) -> bool:
    """Whether every part of this backbone that looks at several frames can be told which are padding.

    Upstream's `DiT` masks its position convolutions and, with PyTorch's attention, its keys. `UNetT` (E2-TTS)
    does not mask its convolutions, and `flash_attn` cuts the padding off.
    """
    blocks = getattr(transformer, "transformer_blocks", [])
    return bool(blocks) and all(block.attn.processor.attn_backend == "torch" for block in blocks)


def mask_attention(transformer: Any) -> None:
    """Let attention obey the mask of a padded batch. Without a mask nothing changes."""
    for block in transformer.transformer_blocks:
        block.attn.processor.attn_mask_enabled = True


def masks_attention(transformer: Any) -> bool:
    """Whether attention obeys a mask, as its processors stand."""
    blocks = getattr(transformer, "transformer_blocks", [])
    return all(block.attn.processor.attn_mask_enabled for block in blocks)
