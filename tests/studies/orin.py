"""What the cost model says of a Jetson AGX Orin, beside what its operator reported.

Extrapolated: nothing here was measured on one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.advisor.architecture import Architecture, Sequence
from engine.advisor.ceilings import Ceilings
from engine.advisor.costs import Model, Work, work
from engine.options import Options

SOURCE = (
    "NVIDIA Jetson AGX Orin Series Technical Brief v1.2: 64 GB module, GPU with 170 sparse TOPS of INT8, "
    "that is 42.5 dense TFLOP/s of FP16 on the tensor cores; 5.3 TFLOP/s of FP32; 204.8 GB/s"
)
CEILINGS = Ceilings("jetson-agx-orin", "cuda", 0, {"fp32": 5.3e12, "fp16": 42.5e12}, 204.8e9)
"""Peaks of a data sheet, which nothing reaches."""

BASE = Architecture(
    dim=1024, depth=22, heads=16, ff_mult=2, text_dim=512, conv_layers=4, mel=100,
    vocos_dim=512, vocos_inner=1536, vocos_layers=8, n_fft=1024,
)  # fmt: skip
"""F5TTS_v1_Base, 337 M parameters, with the published Vocos."""

FRAMES_PER_SECOND = 93.75


class Report(NamedTuple):
    """What the operator of the device told; `reference_told` is false where the clip's length is assumed."""

    name: str
    options: str
    reference_seconds: float
    reference_told: bool
    audio_seconds: float
    rtf: float


_FP16 = "precision=fp16 vocoder_precision=fp16 reference_cache=on"
REPORTS = (
    Report("NFE 7, 3.6 s after a clip of 11 s", f"{_FP16} nfe=7 schedule=epss", 11.0, True, 3.6, 0.36),
    Report("NFE 8, 8.4 s, clip assumed 11 s", f"{_FP16} nfe=8", 11.0, False, 8.4, 0.28),
)


def extrapolate(model: Model) -> dict[str, Any]:
    """RTF of each report: at the peaks, at the shares that `model` has, at the first report's own share."""
    there = Model(model.weights, CEILINGS)
    works = [_work(report) for report in REPORTS]
    first = REPORTS[0]
    reached = floor(works[0]) / (first.rtf * first.audio_seconds)
    return {
        "label": "extrapolated",
        "source": SOURCE,
        "share_of_peak_in_first_report": reached,
        "rows": [
            {
                **report._asdict(),
                "flops": todo.flops,
                "traffic": todo.traffic,
                "rtf_at_peak": floor(todo) / report.audio_seconds,
                "rtf_at_shares_measured_here": there.seconds(todo) / report.audio_seconds,
                "rtf_at_share_of_first_report": floor(todo) / reached / report.audio_seconds,
            }
            for report, todo in zip(REPORTS, works, strict=True)
        ],
    }


def floor(todo: Work, ceilings: Ceilings = CEILINGS) -> float:
    """Seconds that no program can beat: all FLOPs at their format's peak, one after the other."""
    return sum(flops / ceilings.flops[name] for (_, name), flops in todo.flops_by.items())


def _work(report: Report) -> Work:
    reference, generated = (
        int(seconds * FRAMES_PER_SECOND) for seconds in (report.reference_seconds, report.audio_seconds)
    )
    return work(BASE, [Sequence(reference + generated, reference, generated)], Options.parse(report.options))
