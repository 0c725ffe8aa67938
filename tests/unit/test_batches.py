"""Batches: who goes with whom, what is padded with what, and what happens when memory runs out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import batches, dit, sampler
from engine.errors import DeviceError
from engine.evidence import Observations
from engine.options import Options
from engine.pieces import Piece
from engine.reference import Reference
from tests.unit.parts import parts

FRAMES = st.lists(st.integers(100, 2000), max_size=30)


def item(frames: int, *, clip: int = 5, tokens: int = 7, seed: int = 0, name: str = "") -> Piece:
    """A sequence of so many frames behind a clip of `clip`."""
    mel = torch.ones(1, clip + 1, 3)
    reference = Reference(mel, clip, "words", 1.0, clip / 93.75)
    return Piece("words", torch.arange(tokens)[None], frames, reference, seed, name)


@given(FRAMES, st.integers(1, 16), st.booleans())
def test_every_sequence_is_in_one_group_with_others_like_it(
    frames: list[int], largest: int, maskable: bool
) -> None:
    """Never more than asked for, and never much shorter than the longest of the group."""
    groups = batches.groups(frames, largest, maskable)
    assert sorted(index for group in groups for index in group) == list(range(len(frames)))
    for group in groups:
        lengths = [frames[index] for index in group]
        assert len(group) <= largest
        assert min(lengths) >= (batches.ALIKE if maskable else 1.0) * max(lengths)


@given(FRAMES, st.integers(2, 16))
def test_a_group_is_left_only_when_full_or_unlike(frames: list[int], largest: int) -> None:
    """The next shorter sequence could not have joined."""
    groups = batches.groups(frames, largest, True)
    for group, other in itertools.pairwise(groups):
        assert len(group) == largest or frames[other[0]] < batches.ALIKE * frames[group[0]]


def test_items_are_padded_each_with_its_own_noise() -> None:
    """Mels by zeros, tokens by -1, the mask by false; the noise is what each would get alone."""
    items = [item(9, clip=5, tokens=4, seed=3), item(12, clip=2, tokens=6, seed=8)]
    batch = batches.collate(items, 16, always_masked=False)
    assert batch.mask is not None
    assert batch.mask.sum(dim=1).tolist() == [9, 12]
    assert batch.noise.shape == (2, 16, 3)
    for row, one in enumerate(items):
        alone = sampler.noise_like(one.frames, 3, one.seed, "cpu")[0]
        assert torch.equal(batch.noise[row, : one.frames], alone)
        assert not batch.noise[row, one.frames :].any()
    assert batch.tokens.tolist() == [[0, 1, 2, 3, -1, -1], [0, 1, 2, 3, 4, 5]]
    assert batch.reference_mel.sum(dim=(1, 2)).tolist() == [18, 9]
    assert batch.reference_frames.tolist() == [6, 3]


@pytest.mark.parametrize(
    ("length", "always", "masked"), [(9, False, False), (9, True, True), (10, False, True)]
)
def test_what_is_not_padded_needs_no_mask(length: int, always: bool, masked: bool) -> None:
    """Unless one graph is to serve both."""
    assert (batches.collate([item(9), item(9)], length, always).mask is not None) is masked


class Memory:
    """Stands in for `sample_batch`: takes as many items as fit, and remembers the sizes it was asked for."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.asked: list[int] = []

    def __call__(self, parts: Any, items: Sequence[Piece], *_: Any) -> list[torch.Tensor]:
        self.asked.append(len(items))
        if len(items) > self.room:
            raise self.error
        return [torch.tensor(one.seed) for one in items]


@pytest.fixture
def halving(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`sample` with a memory behind it, which answers with (mel, warnings) for each item."""

    def sample(items: Sequence[Piece], memory: Memory) -> Any:
        monkeypatch.setattr(batches, "sample_batch", memory)
        return batches.sample(parts(), items, Options(), Observations())

    return sample


OUT = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_out_of_memory_halves_the_batch_and_says_so(halving: Any, error: Exception) -> None:
    """Every item is sampled, in order, and carries the warnings of the batches that did not fit."""
    memory = Memory(2, error)
    made = halving([item(9, seed=seed) for seed in range(7)], memory)
    assert [int(mel) for mel, _ in made] == list(range(7))
    assert memory.asked == [7, 3, 1, 2, 4, 2, 2]
    assert made[0][1] == tuple(f"out of memory for a batch of {n}: sampled in halves" for n in (7, 3))


def test_what_fits_carries_no_warning(halving: Any) -> None:
    """Nothing happened."""
    assert [warnings for _, warnings in halving([item(9)] * 2, Memory(2, OUT[0]))] == [(), ()]


@pytest.mark.parametrize("error", OUT, ids=lambda error: type(error).__name__)
def test_one_item_that_does_not_fit_is_an_error_that_names_it(halving: Any, error: Exception) -> None:
    """Never a crash of the allocator's."""
    with pytest.raises(DeviceError, match="request 1: out of memory for 11 frames"):
        halving([item(9, name="request 0: "), item(11, name="request 1: ")], _Only9(error))


class _Only9(Memory):
    def __init__(self, error: Exception) -> None:
        super().__init__(0, error)

    def __call__(self, parts: Any, items: Sequence[Piece], *_: Any) -> list[torch.Tensor]:
        if [one.frames for one in items] == [9]:
            return [torch.zeros(1)]
        raise self.error


def test_another_error_is_not_taken_for_a_lack_of_memory(halving: Any) -> None:
    """A fault of the model must be seen, not tried again in halves."""
    memory = Memory(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        halving([item(9), item(9)], memory)
    assert memory.asked == [2]


def backbone(**processor: Any) -> Any:
    """A transformer of two blocks with such attention processors."""
    made = [
        SimpleNamespace(**{"attn_backend": "torch", "attn_mask_enabled": False, **processor}) for _ in "ab"
    ]
    return SimpleNamespace(
        transformer_blocks=[SimpleNamespace(attn=SimpleNamespace(processor=one)) for one in made]
    )


def test_the_mask_is_switched_on_in_every_block() -> None:
    """And is seen to be."""
    one = backbone()
    assert dit.maskable(one)
    assert not dit.masks_attention(one)
    dit.mask_attention(one)
    assert dit.masks_attention(one)
    one.transformer_blocks[1].attn.processor.attn_mask_enabled = False
    assert not dit.masks_attention(one)


@pytest.mark.parametrize("one", [SimpleNamespace(layers=[]), backbone(attn_backend="flash_attn")])
def test_a_backbone_that_cannot_be_masked_is_known(one: Any) -> None:
    """E2-TTS has no blocks whose convolutions take a mask; flash_attn cuts the padding off."""
    assert not dit.maskable(one)
