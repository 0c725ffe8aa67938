"""Text embeddings of a padded batch, each as its text alone would have it. Imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def embed_text(transformer: Any, tokens: Tensor, mask: Tensor, *, drop_text: bool) -> Tensor:
    """One half of what guidance asks of upstream's `text_embed`: with the text, or with it dropped.

    Upstream's own batched embedding is not that of each text alone: the response normalisation of its
    convolutions sums over the filler behind the text too, of which a padded text has more, and what it gives
    is as long as the longest text and not as the padded sequences.

    Args:
        transformer: upstream's backbone.
        tokens: [b, nt] int64, each text ended by -1 where it is shorter.
        mask: [b, n] bool, true where a sequence has frames.
        drop_text: embed the absence of the text.

    Returns:
        [b, n, dt], zero where the mask is false.
    """
    import torch
    from torch.nn import functional

    alone = [
        transformer.text_embed(text[text != -1][None], seq_len=frames, drop_text=drop_text)  # [1, frames, dt]
        for text, frames in zip(tokens, mask.sum(dim=1).tolist(), strict=True)
    ]
    return torch.cat([functional.pad(one, (0, 0, 0, mask.shape[1] - one.shape[1])) for one in alone])
