"""How much worse a candidate may sound than its base: data, with the reason of each figure."""

from __future__ import annotations

from pydantic import Field

from engine.gate.data.workloads import Frozen, Positive


class Limits(Frozen):
    """How much worse than the base a candidate may be. In a baseline: `relative.quality`."""

    mos_drop: Positive = Field(
        0.2, description="MOS points (DNSMOS OVRL), mean over cases; listeners hardly notice less"
    )
    wer_rise: Positive = Field(
        0.02, description="share of words, whole set; judged only where the pairs are enough to tell"
    )
    cer_rise: Positive = Field(
        0.04, description="share of characters, whole set; calibrated: wider than what another seed does"
    )
    dropped_rise: Positive = Field(
        0.04, description="share of words dropped and not replaced, whole set; calibrated like cer_rise"
    )
    similarity_drop: Positive = Field(
        0.02,
        description="cosine to the reference clip, mean over cases; other speakers differ by far more",
    )
    duration: Positive = Field(
        0.02, description="share of the base's length, each clip; length follows from text, clip and speed"
    )
    lossless_mel: Positive = Field(
        1e-3, description="relative L2 of the log-mel, each clip, where the candidate claims to be lossless"
    )
    clip_mos_drop: Positive = Field(
        1.2, description="MOS points (DNSMOS OVRL or BAK), a single clip; beyond what another seed does"
    )
    clip_cer_rise: Positive = Field(
        0.45, description="share of a single clip's characters; words in another order, or none"
    )
    clip_similarity_drop: Positive = Field(
        0.15, description="cosine, a single clip; so different only another speaker, or noise, sounds"
    )
    voice_margin: Positive = Field(
        0.05, description="cosine by which another voice's clip must be nearer to be called the wrong voice"
    )
    clipped: Positive = Field(
        1e-3, description="share of samples in flat tops, a single clip; clean speech has none"
    )
    dc: Positive = Field(0.02, description="share of full scale, a single clip; far over any microphone's")
    click: Positive = Field(
        5.0, description="times the sharpness around it, a single clip; recorded speech stays below"
    )
    silence: Positive = Field(
        0.2, description="s by which the longest silence, or that at an end, may grow; as long as a word"
    )
    loudness: Positive = Field(
        3.0, description="dB by which a single clip may get louder or softer; noise and overdrive do more"
    )
    frozen: Positive = Field(
        0.02, description="s of sound, bit for bit an earlier one again; speech never repeats itself"
    )
