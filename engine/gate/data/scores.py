"""What the judges found, as data: needs none of their packages, and goes into the record."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.gate.data.workloads import Frozen, Name, NonNegative, Sha256

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class WordErrors(Frozen):
    """Edits between the text and what was heard, both in plain words.

    `dropped` are the words of the text for which the alignment has nothing heard (deletions, not
    substitutions), in the order of the text.
    """

    word_edits: Count
    words: Annotated[int, Field(ge=1)]
    char_edits: Count
    chars: Annotated[int, Field(ge=1)]
    dropped: tuple[str, ...] = ()

    @property
    def wer(self) -> float:
        """Word error rate; above 1 when more was heard than said."""
        return self.word_edits / self.words

    @property
    def cer(self) -> float:
        """Character error rate, blanks between words counted."""
        return self.char_edits / self.chars


class Mos(Frozen):
    """Predicted mean opinion scores, nominally 1 to 5: overall, speech, background (P.835), and P.808."""

    ovrl: float
    sig: float
    bak: float
    p808: float


class Signal(Frozen):
    """What can be said of a wave alone. Times in seconds; measured over the finite samples.

    Attributes:
        finite: no NaN and no infinity.
        clipped: share of samples in flat tops (three and more equal samples at the wave's own extremes).
        dc: mean of the wave, relative to full scale.
        loudness_dbfs: RMS of the parts that are not silent, in dB relative to full scale; -120 if all is.
        silent_head_s: silence before the first sound; the whole wave if there is none.
        silent_tail_s: silence after the last sound; the whole wave if there is none.
        longest_silence_s: longest silence anywhere, head and tail included.
        click: strongest break of the wave against its neighbourhood (see `signal.click`); 1 is speech-like.
        click_at_s: where.
        frozen_s: longest stretch that repeats itself exactly: a constant other than silence, or a loop.
    """

    finite: bool
    clipped: Share
    dc: float
    loudness_dbfs: float
    silent_head_s: NonNegative
    silent_tail_s: NonNegative
    longest_silence_s: NonNegative
    click: NonNegative
    click_at_s: NonNegative
    frozen_s: NonNegative


class Distances(Frozen):
    """How far a candidate is from a reference made from the same noise; the common part is compared.

    Attributes:
        mel_l1: mean absolute difference of the log-mels over the mean absolute reference.
        mel_l2: the same with root mean squares: the engine's measure of "lossless".
        mcd_db: mel-cepstral distortion, frame by frame, no time warping.
        lsd_db: log-spectral distance.
        si_sdr_db: scale-invariant signal-to-distortion ratio, from -100 to 100 (100: identical).
        worst_frame: largest relative L2 of a single mel frame.
        worst_frame_s: where.
    """

    mel_l1: NonNegative
    mel_l2: NonNegative
    mcd_db: NonNegative
    lsd_db: NonNegative
    si_sdr_db: float
    worst_frame: NonNegative
    worst_frame_s: NonNegative


class Scores(Frozen):
    """Everything the judges said about one output, spoken in `voice`.

    `similarities` is the cosine to every reference clip by voice. `not_judged` says why a judge has no score:
    judge name to reason.
    """

    output: Sha256
    seconds: NonNegative
    voice: Name
    signal: Signal
    heard: str | None = None
    words: WordErrors | None = None
    similarities: dict[str, float] = Field(default_factory=dict)
    mos: Mos | None = None
    not_judged: dict[str, str] = Field(default_factory=dict)

    @property
    def similarity(self) -> float | None:
        """Cosine to the clip of the voice that should speak."""
        return self.similarities.get(self.voice)

    @property
    def nearest(self) -> str | None:
        """The voice whose clip sounds most alike."""
        return max(self.similarities, key=self.similarities.__getitem__) if self.similarities else None
