"""What the service measures, for Prometheus. Each application has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import prometheus_client
import psutil
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.serve.job import Job

if TYPE_CHECKING:
    from engine.audio import Audio
    from engine.serve.speaker import Speaker
    from engine.synthesis import Engine

SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0)
RTF = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.36, 0.45, 0.6, 1.0, 2.0, 5.0)
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16)
CACHE_HITS = "cache hits"
"""How the toggle `reference_cache` counts them."""


class Metrics:
    """The counters and histograms of one application."""

    def __init__(self, speaker: Callable[[], Speaker | None]) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "ishowtts_requests", "Requests, by route and status", ("route", "status"), registry=registry
        )
        self.latency = Histogram(
            "ishowtts_latency_seconds",
            "From a request to the end of its answer",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.rtf = Histogram(
            "ishowtts_rtf", "Time to make speech over time to play it", buckets=RTF, registry=registry
        )
        self.first_audio = Histogram(
            "ishowtts_first_audio_seconds",
            "From a request to its first audio",
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_wait = Histogram(
            "ishowtts_queue_wait_seconds", "Time in the queue", buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            "ishowtts_batch_size", "Requests sampled together", buckets=BATCHES, registry=registry
        )
        self.audio_seconds = Counter(
            "ishowtts_audio_seconds", "Seconds of speech that were made", registry=registry
        )
        self.errors = Counter(
            "ishowtts_errors", "Requests without speech, by the kind of error", ("kind",), registry=registry
        )
        registry.register(_Live(speaker))

    def batched(self, jobs: list[Job]) -> None:
        """Jobs are about to be sampled together."""
        self.batch.observe(len(jobs))
        for job in jobs:
            self.queue_wait.observe(job.waited)

    def halved(self, batch: int) -> None:
        """Memory ran out for a batch."""
        self.errors.labels("out_of_memory").inc()

    def spoke(self, audio: Audio) -> None:
        """Speech, or a piece of it, was made."""
        if audio.seconds > 0:
            self.audio_seconds.inc(audio.seconds)
            self.rtf.observe(audio.rtf)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return prometheus_client.generate_latest(self.registry)


class _Live(Collector):
    """What is read at the moment of asking: queue, memory, temperatures, and whether the toggles work."""

    def __init__(self, speaker: Callable[[], Speaker | None]) -> None:
        self._speaker = speaker

    def describe(self) -> list[Metric]:
        """Nothing: `collect` need not run at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges as they are now."""
        speaker = self._speaker()
        engine = speaker.engine if speaker is not None else None
        yield _gauge("ishowtts_ready", "1 where requests are spoken", float(bool(speaker and speaker.ready)))
        yield _gauge("ishowtts_queue_length", "Requests that wait", speaker.waiting if speaker else 0)
        memory = psutil.Process().memory_info().rss
        yield _gauge("ishowtts_process_memory_bytes", "Resident memory of the process", memory)
        yield from _sensors()
        if engine is not None:
            yield from _engine(engine)


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help, value=value)


def _sensors() -> Iterator[Metric]:
    """Temperatures, where the system tells them."""
    gauge = GaugeMetricFamily("ishowtts_temperature_celsius", "Temperature of a sensor", labels=("sensor",))
    read = getattr(psutil, "sensors_temperatures", dict)
    for chip, entries in read().items():
        for index, entry in enumerate(entries):
            if entry.current is not None:
                gauge.add_metric([f"{chip} {entry.label or index}"], entry.current)
    yield gauge


def _engine(engine: Engine) -> Iterator[Metric]:
    """Whether every toggle's evidence holds, hits of the reference cache, and the card's memory."""
    proven = GaugeMetricFamily(
        "ishowtts_toggle_proven",
        "1: a toggle was seen to work; 0: it was not; NaN: nothing to judge by yet",
        labels=("toggle",),
    )
    evidence = engine.evidence()
    for name in engine.options.changed():
        if name in evidence:
            state = evidence[name].proven
            proven.add_metric([name], float("nan") if state is None else float(state))
    yield proven
    hits = engine.counts()[CACHE_HITS]
    yield CounterMetricFamily(
        "ishowtts_cache_hits", "Reference clips that were conditioned before", value=hits
    )
    if engine.device.startswith("cuda"):
        import torch

        yield _gauge("ishowtts_gpu_memory_bytes", "Memory on the card", torch.cuda.memory_allocated())
