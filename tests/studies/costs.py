"""What one `synthesize` costs: FLOPs and bytes from the architecture, seconds from a machine's ceilings.

The roofline (https://doi.org/10.1145/1498765.1498785) says what a machine could do; nothing reaches it. Each
kind of work has its own share of the ceiling, and these few shares are fitted to measured calls. Everything
here is arithmetic: nothing is loaded, read or timed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as Many
from typing import Any, NamedTuple

import numpy as np

from engine.errors import UsageError
from engine.options import Options, planned
from tests.studies.architecture import Architecture, Sequence
from tests.studies.ceilings import Ceilings

FREQUENCIES, POSITION_KERNEL, POSITION_GROUPS, CONVNEXT_KERNEL = 256, 31, 16, 7
"""Upstream's constants: width of the time's sinusoids, the position convolutions, and ConvNeXt."""

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}
PARTS = ("products", "attention", "convolutions")


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be done.

    Attributes:
        flops_by: by part of `PARTS` and number format; a multiplication with its addition counts two.
        traffic: bytes that operators read and write, each on its own, weights included.
        launches: operators that are dispatched.
        pieces: how often everything that is done once a piece is done.
    """

    flops_by: Mapping[tuple[str, str], float]
    traffic: float
    launches: float
    pieces: int

    @property
    def flops(self) -> float:
        """All of them."""
        return sum(self.flops_by.values())

    @property
    def intensity(self) -> float:
        """FLOPs for each byte of traffic."""
        return self.flops / self.traffic


def evaluations(options: Options) -> list[tuple[int, ...]]:
    """For each evaluation of the flow, the rows of each call of the transformer, as the guidance has them."""
    if not options.guided:
        return [(1,)] * options.nfe
    if options.guidance == "searched":
        return [(2,) if strength else (1,) for strength in planned()[options.nfe].strengths]
    if options.guidance == "reuse":
        return [(1,) if index % 2 else (2,) for index in range(options.nfe)]
    if options.guidance == "interval":
        from engine import sampler

        times = sampler.evaluation_times(sampler.time_grid(options, "cpu"), sampler.solver(options))
        return [(2,) if time < options.guidance_until else (1,) for time in times.tolist()]
    return [(1, 1) if options.guidance == "separate" else (2,)] * options.nfe


def work(shape: Architecture, pieces: Many[Sequence], options: Options) -> Work:
    """The work of one `synthesize` that says `pieces`.

    Raises:
        UsageError: no pieces.
    """
    if not pieces:
        raise UsageError("no pieces", "one or more", "Plan a text first")
    halves = evaluations(options)
    flops: Counter[tuple[str, str]] = Counter()
    for piece in pieces:
        flops.update(_transformer_flops(shape, piece.frames, options, halves))
        flops.update(_text_flops(shape, piece.reference + piece.generated, options))  # not padded
        flops.update(_vocoder_flops(shape, piece.generated, options))
    if not options.reference_cache:  # the mel filters; conditioned once a request
        flops["products", "fp32"] += 2 * (pieces[0].reference + 1) * (shape.n_fft // 2 + 1) * shape.mel
    calls = sum(len(one) for one in halves)
    return Work(
        {key: float(count) for key, count in flops.items()},
        sum(_traffic(shape, piece, options, halves) for piece in pieces),
        len(pieces) * calls * _launches(shape, options),
        len(pieces),
    )


def _transformer_flops(
    shape: Architecture, n: int, options: Options, halves: Many[tuple[int, ...]]
) -> dict[tuple[str, str], float]:
    """All evaluations of one piece."""
    d, mel, precision = shape.dim, shape.mel, options.precision
    rows, calls = sum(map(sum, halves)), sum(map(len, halves))
    given = mel + shape.text_dim  # what the input projection sees beside the noise
    projected = (calls * mel + _sides(options) * given) if options.hoist else rows * (mel + given)
    products = 2 * n * (projected * d + rows * d * mel)
    if not options.hoist:  # at load, otherwise
        times = FREQUENCIES * d + d * d
        products += 2 * (calls * times + rows * (6 * shape.depth + 2) * d * d)
    convolved = 2 * 2 * n * rows * POSITION_KERNEL * d * d // POSITION_GROUPS
    blocks = "int8" if options.int8 != "off" else precision
    found: Counter[tuple[str, str]] = Counter()
    found["products", precision] += products
    found["products", blocks] += 2 * n * rows * shape.block_weights
    found["attention", "bf16" if options.attention == "fused" else precision] += (
        4 * n * n * rows * shape.inner * shape.depth
    )
    found["convolutions", precision] += convolved
    return dict(found)


def _text_flops(shape: Architecture, n: int, options: Options) -> dict[tuple[str, str], float]:
    """The text embeddings: one for each half of the guidance, but without guidance upstream keeps none."""
    kept = options.guided or options.hoist
    times = _sides(options) if kept else options.nfe + (2 if options.buckets else 0)
    width, layers = shape.text_dim, shape.conv_layers
    return {
        ("products", options.precision): 2 * n * times * layers * 2 * width * 2 * width,
        ("convolutions", options.precision): 2 * n * times * layers * CONVNEXT_KERNEL * width,
    }


def _sides(options: Options) -> int:
    return 2 if options.guided else 1


def _vocoder_flops(shape: Architecture, n: int, options: Options) -> dict[tuple[str, str], float]:
    """Vocos without its inverse STFT, which is no product. Its head always works in fp32."""
    d, own = shape.vocos_dim, options.vocoder_precision
    found: Counter[tuple[str, str]] = Counter()
    found["products", own] += 2 * n * shape.vocos_layers * 2 * d * shape.vocos_inner
    found["products", "fp32"] += 2 * n * d * (shape.n_fft + 2)
    found["convolutions", own] += 2 * n * CONVNEXT_KERNEL * d * (shape.mel + shape.vocos_layers)
    return dict(found)


def _traffic(shape: Architecture, piece: Sequence, options: Options, halves: Many[tuple[int, ...]]) -> float:
    """Bytes read and written by all operators of one piece, as eager torch runs them."""
    rows, calls, size = sum(map(sum, halves)), sum(map(len, halves)), BYTES[options.precision]
    d, inner, wide = shape.dim, shape.inner, shape.wide
    turned = 8 if options.hoist else 24  # passes over queries and keys: from a table, or upstream's own
    frame = shape.depth * (28 * d + (10 + turned) * inner + 4 * wide) + 12 * d
    quantised = shape.depth * (8 * (4 * d + inner + wide) + 4 * (3 * inner + 2 * d + wide))
    moved = piece.frames * rows * (frame + (quantised if options.int8 != "off" else 0)) * size
    weights = shape.block_weights * (1 if options.int8 != "off" else size)
    if not options.hoist:
        weights += 6 * shape.depth * d * d * size
    spoken = shape.vocos_layers * (10 * shape.vocos_dim + 4 * shape.vocos_inner) + 12 * shape.n_fft
    return float(moved + calls * weights + 4 * piece.generated * spoken)


def _launches(shape: Architecture, options: Options) -> float:
    """Operators of one call of the transformer."""
    block = 40 if options.hoist else 70
    return shape.depth * (block + (60 if options.int8 != "off" else 0)) + 20


class Growth(NamedTuple):
    """seconds = a + b * frames + c * frames^2; `error` is the fit's relative root mean square."""

    a: float
    b: float
    c: float
    error: float

    def seconds(self, frames: float) -> float:
        """What the curve says of that many frames."""
        return self.a + self.b * frames + self.c * frames**2


def fit(frames: Many[float], seconds: Many[float]) -> Growth:
    """How the time of one piece grows with its frames; no coefficient is negative.

    Relative errors are squared, so that short pieces count as much as long ones.

    Raises:
        UsageError: fewer than three lengths, or a time that is not above zero.
    """
    if len(set(frames)) < 3 or len(frames) != len(seconds):
        raise UsageError(
            f"{len(set(frames))} lengths and {len(seconds)} times", "three or more, in pairs", "Measure more"
        )
    n = np.asarray(frames, float)
    found, error = _solve(np.stack([np.ones_like(n), n, n**2], axis=1), seconds, (0, 0, 0))
    a, b, c = found
    return Growth(a, b, c, error)


def _solve(columns: Any, seconds: Many[float], least: Many[float]) -> tuple[list[float], float]:
    """Weights, none below its least, with the least squared relative errors, and their root mean square."""
    from scipy.optimize import nnls

    times = np.asarray(seconds, float)
    if not (times > 0).all():
        raise UsageError(f"times {times.tolist()}", "seconds above zero", "Measure again")
    rows = columns / times[:, None]
    scale = rows.max(axis=0).clip(min=1e-300)  # columns of like size: seconds beside millions of operators
    above, residual = nnls(rows / scale, 1 - rows @ np.asarray(least, float))
    return (least + above / scale).tolist(), float(residual / len(times) ** 0.5)


TERMS = (*PARTS, "traffic", "launches", "pieces")
"""What a model weighs. The weight is 1 / share of the ceiling for the first four, seconds for the others."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Seconds of a call on one machine: a weight for each of `TERMS`."""

    weights: Mapping[str, float]
    ceilings: Ceilings

    def seconds(self, todo: Work) -> float:
        """What the call should take."""
        return float(terms(todo, self.ceilings) @ [self.weights[name] for name in TERMS])

    def rtf(self, todo: Work, audio_seconds: float) -> float:
        """Seconds of computing for a second of audio."""
        return self.seconds(todo) / audio_seconds


def terms(todo: Work, ceilings: Ceilings) -> Any:
    """[6]: seconds of each part at its ceiling, of the traffic at full bandwidth; then operators and pieces.

    Raises:
        UsageError: a number format that has no ceiling.
    """
    found: Counter[str] = Counter()
    for (part, name), flops in todo.flops_by.items():
        if name not in ceilings.flops:
            raise UsageError(f"work in {name}", f"one of {', '.join(ceilings.flops)}", "Measure its ceiling")
        found[part] += flops / ceilings.flops[name]  # type: ignore[assignment]
    return np.array(
        [*(found[part] for part in PARTS), todo.traffic / ceilings.bandwidth, todo.launches, todo.pieces],
        float,
    )


def calibrate(measured: Many[tuple[Work, float]], ceilings: Ceilings) -> Model:
    """The model whose relative errors on (work, seconds) are the least, none of its parts above a ceiling.

    Raises:
        UsageError: fewer calls than the model has weights, or a time that is not above zero.
    """
    if len(measured) < len(TERMS):
        raise UsageError(f"{len(measured)} calls", f"{len(TERMS)} or more", "Measure more lengths")
    columns = np.stack([terms(todo, ceilings) for todo, _ in measured])
    least = [float(name in PARTS) for name in TERMS]
    found, _ = _solve(columns, [seconds for _, seconds in measured], least)
    return Model(dict(zip(TERMS, found, strict=True)), ceilings)
