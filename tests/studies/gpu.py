"""A card at base size: what it reaches beside its limits, and beside what was predicted without one.

`nox -s gpu` measures on a CUDA card and writes the record, its table, and that of the documents; `--predict`
renews the predicted column alone, on any machine. A predicted figure never stands where a measured one
belongs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from engine.errors import DeviceError
from engine.gate.baselines.select import BASELINES
from engine.gate.data.workloads import SENTENCES
from engine.gate.measure import revisions
from engine.options import Options
from tests.studies import architecture, batch_gain, committed, costs, flops, gpu_report
from tests.studies.batch_gain import BatchGain

SCHEMA_VERSION = 1
CHECKPOINT = "seeded-base"
SENTENCE = "short"
ROUNDS = 40
FAST = Options(
    precision="bf16", vocoder_precision="bf16", compile="default", graphs=True, streams=True, buckets=True,
    reference_cache=True, hoist=True, nfe=7, schedule="epss",
)  # fmt: skip
"""What the limits are of: compiled once, recorded for every length, the vocoder beside."""
WARM_UP = "every length in every size recorded, and one round that does not count"

H100_CLASS = ("H100", "H200", "GH200", "B100", "B200", "GB200")
RTF, CV = 0.005, 0.02
"""At batch 1: seconds of work a second of speech, and how much its latency may vary."""
FOUR, EIGHT = 1.5, 2.0
"""Time of a batch of four / of one, and throughput of a batch of eight / of one at a time."""
REACHABLE = 0.6
"""Of the measured ceiling: more than this is asked of no batch."""


@dataclasses.dataclass(frozen=True)
class Card:
    """A card as its data sheet has it.

    Attributes:
        products: dense bf16 FLOP/s.
        bandwidth: bytes/s.
    """

    name: str
    products: float
    bandwidth: float


H100 = Card("H100 SXM, by its data sheet", 989e12, 3.35e12)
SHARES = (0.65, 0.35)
"""Of the data sheet's products that a program reaches: at best, and at worst."""
FUSED = (0.5, 1.0)
"""Of eager torch's traffic that is left: at best, and at worst."""
GAPS_S = (1e-6, 2.5e-6)
"""Between two kernels of a graph: at best, and at worst."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """One request: its audio and the work of it."""

    audio_seconds: float
    frames: int
    work: costs.Work

    def seconds(self, card: Card, size: int = 1) -> tuple[float, float]:
        """The least and the most that a batch of so many takes on a card.

        At best products and memory overlap, at worst they follow each other; kernels are launched once a
        batch.
        """
        products = [size * self.work.flops / (card.products * share) for share in SHARES]
        memory = [size * self.work.traffic * left / card.bandwidth for left in FUSED]
        gaps = [self.work.launches * gap for gap in GAPS_S]
        return max(products[0], memory[0]) + gaps[0], products[1] + memory[1] + gaps[1]


def workload(options: Options = FAST) -> Workload:
    """The request that is measured, planned on the small model: words, clip and frames are those of any."""
    import engine
    from engine.voices import seeded

    text = next(one.text for one in SENTENCES if one.name == SENTENCE)
    plain = dataclasses.replace(options, graphs=False, streams=False, compile="off")
    shape = architecture.Architecture.of(seeded.SIZES[CHECKPOINT], seeded._vocos_config(CHECKPOINT))
    with engine.load("seeded-tiny", plain, device="cpu") as tts:
        pieces = flops.sequences(tts, text)
    generated = sum(one.generated for one in pieces)
    return Workload(generated / 93.75, pieces[0].frames, costs.work(shape, pieces, options))


def predict(card: Card = H100, sizes: Sequence[int] = batch_gain.SIZES) -> dict[str, Any]:
    """What the arithmetic says, with what it rests on; nothing is measured."""
    request = workload()
    rows = []
    for size in sizes:
        low, high = request.seconds(card, size)
        one = request.seconds(card)
        rows.append(
            {
                "size": size,
                "seconds": [low, high],
                "rtf": [low / size / request.audio_seconds, high / size / request.audio_seconds],
                "time_of_one": [low / one[0], high / one[1]],
            }
        )
    return {
        "command": "nox -s study -- gpu --predict",
        "checkpoint": CHECKPOINT,
        "options": str(FAST),
        "card": dataclasses.asdict(card),
        "shares": SHARES,
        "fused": FUSED,
        "gaps_s": GAPS_S,
        "audio_seconds": request.audio_seconds,
        "frames": request.frames,
        "flops": request.work.flops,
        "traffic": request.work.traffic,
        "launches": request.work.launches,
        "rows": rows,
    }


def implied_share(request: Workload, ceiling: float) -> float:
    """Of a ceiling in FLOP/s, what the limit of the RTF asks of one request."""
    return request.work.flops / (RTF * request.audio_seconds) / ceiling


def failures(found: BatchGain) -> list[str]:
    """The limits that do not hold, a sentence each.

    A batch is asked for a gain only where one request leaves so much of the card that the batch could have
    it within `REACHABLE`: the limits cannot contradict each other.
    """
    said = []
    if found.rtf > RTF:
        said.append(f"RTF {found.rtf:.4f}, above {RTF}")
    if found.sizes[1].cv > CV:
        said.append(f"latency varies by {found.sizes[1].cv:.1%}, above {CV:.0%}")
    four, eight, share = found.time(4).ratio, 8 / found.time(8).ratio, found.share(1)
    if share * 4 / FOUR <= REACHABLE and four >= FOUR:
        said.append(f"a batch of four takes {four:.2f} times one, though one uses {share:.0%} of the card")
    if share * EIGHT <= REACHABLE and eight < EIGHT:
        said.append(f"a batch of eight has {eight:.2f} times the throughput, though one uses {share:.0%}")
    return said


def measure(
    checkpoint: str = CHECKPOINT, options: Options = FAST, device: str = "cuda", rounds: int = ROUNDS
) -> BatchGain:
    """Speak the request alone and in batches, after the warm-up.

    Raises:
        EngineError: the engine does not load or speak there.
    """
    return batch_gain.measure(checkpoint, options, device=device, rounds=rounds, sentence=SENTENCE)


def record(found: BatchGain, checkpoint: str, rounds: int) -> dict[str, Any]:
    """What was measured, with the card, its driver, its clocks, and the warm-up."""
    return {
        **committed.provenance(SCHEMA_VERSION, checkpoint),
        **described(found.device),
        "command": "nox -s gpu",
        "options": str(found.options),
        "warm_up": WARM_UP,
        "rounds": rounds,
        "audio_seconds": found.audio_seconds,
        "rtf": found.rtf,
        "cv": found.sizes[1].cv,
        "ceilings": dataclasses.asdict(found.rates),
        "rows": found.rows(),
        "failures": failures(found),
    }


def described(device: str, nvml: Any = None) -> dict[str, Any]:
    """Name, driver and clocks of a card as they are now; of a CPU its name alone."""
    import torch

    from engine.gate import machine as machines

    if not device.startswith("cuda"):
        return {"card": machines.describe().cpu, "driver": "", "clocks_mhz": {}}
    name = torch.cuda.get_device_name(device)
    try:
        import pynvml

        nvml = nvml or pynvml
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByIndex(torch.device(device).index or 0)
        kinds = {"sm": nvml.NVML_CLOCK_SM, "memory": nvml.NVML_CLOCK_MEM}
        clocks = {
            kind: {
                "now": nvml.nvmlDeviceGetClockInfo(handle, number),
                "highest": nvml.nvmlDeviceGetMaxClockInfo(handle, number),
            }
            for kind, number in kinds.items()
        }
        driver = str(nvml.nvmlSystemGetDriverVersion())
    except ImportError as error:
        raise DeviceError(
            f"{name} without pynvml", "its driver and clocks for the record", "pip install nvidia-ml-py"
        ) from error
    return {"card": name, "driver": driver, "clocks_mhz": clocks, "cuda": torch.version.cuda}


def content(measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """The whole record: limits, what is predicted now, and what was measured, if anything was."""
    return {
        "schema_version": SCHEMA_VERSION,
        "limits": {"rtf": RTF, "cv": CV, "four": FOUR, "eight": EIGHT, "reachable": REACHABLE},
        "predicted": predict(),
        "measured": measured,
    }


def main(
    prediction: Annotated[bool, typer.Option("--predict", help="Renew the predicted column alone.")] = False,
    device: Annotated[str, typer.Option(help="The card.")] = "cuda",
    rounds: Annotated[int, typer.Option(min=2, help="That count.")] = ROUNDS,
) -> None:
    """Measure a card, judge it if it is of the H100's class, and write record, page and the documents' row.

    Exits 1 where a limit does not hold.
    """
    from rich.console import Console

    root = revisions.checkout()
    measured = gpu_report.known(root)
    if not prediction:
        measured = record(measure(device=device, rounds=rounds), CHECKPOINT, rounds)
    gpu_report.write(content(measured), root)
    Console().print(f"{BASELINES / 'gpu.md'} and {gpu_report.SHOWN} written")
    if not prediction and measured and judged(measured["card"]) and measured["failures"]:
        Console(stderr=True).print("\n".join(measured["failures"]))
        raise typer.Exit(1)


def judged(card: str) -> bool:
    """Whether the limits are meant for such a card."""
    return any(name in card for name in H100_CLASS)


if __name__ == "__main__":
    typer.run(main)
