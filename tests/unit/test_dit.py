"""rotary: the table gives upstream's rotation, and the processor upstream's attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import dit, upstream


@pytest.fixture(scope="module")
def modules() -> Any:
    """Upstream's modules."""
    return upstream.module("f5_tts.model.modules")


@given(st.integers(1, 70), st.integers(1, 3), st.sampled_from([4, 8, 64]), st.integers(0, 2**31))
def test_turning_by_the_table_is_upstreams_rotation(frames: int, heads: int, width: int, seed: int) -> None:
    """For any length, number of heads and width: x_transformers' own function is the oracle."""
    from x_transformers.x_transformers import RotaryEmbedding, apply_rotary_pos_emb

    embed = RotaryEmbedding(width)
    x = torch.randn(2, frames, heads, width, generator=torch.Generator().manual_seed(seed)).transpose(1, 2)
    angles, scale = embed.forward_from_seq_len(frames)
    expected = apply_rotary_pos_emb(x, angles, scale)
    torch.testing.assert_close(dit.turn(x, dit.table(embed, frames)), expected, rtol=0, atol=1e-5)


def test_a_turn_keeps_format_and_length() -> None:
    """A rotation changes neither the number format nor the length of a vector."""
    from x_transformers.x_transformers import RotaryEmbedding

    x = torch.randn(1, 2, 9, 8)
    angles = dit.table(RotaryEmbedding(8), 9)
    torch.testing.assert_close(dit.turn(x, angles).norm(dim=-1), x.norm(dim=-1))
    assert dit.turn(x.bfloat16(), angles).dtype == torch.bfloat16


@pytest.mark.parametrize("turned", [None, 1])
@pytest.mark.parametrize("norm", [None, "rms_norm"])
@pytest.mark.parametrize("masked", [None, False, True])
@torch.no_grad()
def test_the_processor_is_upstreams(
    modules: Any, turned: int | None, norm: str | None, masked: bool | None
) -> None:
    """With one head turned or all, with and without norms, with no mask, one that is ignored, one obeyed."""
    from x_transformers.x_transformers import RotaryEmbedding

    torch.manual_seed(0)
    theirs = modules.AttnProcessor(pe_attn_head=turned, attn_mask_enabled=bool(masked))
    attn = modules.Attention(processor=theirs, dim=16, heads=2, dim_head=8, qk_norm=norm).eval()
    x, embed = torch.randn(2, 11, 16), RotaryEmbedding(8)
    mask = None if masked is None else torch.arange(11)[None] < torch.tensor([[11], [7]])
    expected = attn(x, mask=mask, rope=embed.forward_from_seq_len(11))
    attn.processor = dit.TabledAttention(theirs)
    torch.testing.assert_close(attn(x, mask=mask, rope=dit.table(embed, 11)), expected)


def test_the_real_form_that_is_compiled_is_the_complex_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor is handed other arithmetic than eager mode runs: the same rotation."""
    from x_transformers.x_transformers import RotaryEmbedding

    x, angles = torch.randn(2, 3, 9, 8), dit.table(RotaryEmbedding(8), 9)
    eager = dit.turn(x, angles)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(dit.turn(x, angles), eager)
