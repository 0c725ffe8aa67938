"""The same batch on a cluster, by Ray Data: each process loads the model once; whatever dies is tried again.

Texts go out and audio comes back through Ray: the process that began the job writes every file, so the
machines need no folder in common.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import warnings
from collections.abc import Generator, Sequence
from typing import Any

from engine import cluster
from engine.errors import EngineError
from engine.jobs import speaking
from engine.jobs.items import Item
from engine.jobs.speaking import Outcome, Setup

TRIES = 3
"""How often a process may die on the same items before they count as failed."""
MOST_PARTS = 1000
"""Parts that a job is cut into at most: each costs the scheduler some milliseconds."""
LOST = "a process that died {} times: expected one that lives. See that its machine has memory enough."


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where to speak, and with how much; called, it is a speaker as `batch.run` takes one.

    Attributes:
        address: of a Ray cluster, or `cluster.LOCAL`.
        workers: processes that speak; by default as many as there is room for.
    """

    address: str = cluster.LOCAL
    workers: int | None = None

    def __call__(self, setup: Setup, todo: Sequence[Item]) -> Generator[Outcome, None, None]:
        """Speak items in the order in which they get done.

        Raises:
            ClusterError: see `cluster.joined`.
            EngineError: a process cannot load the model.
        """
        if not todo:
            return
        with cluster.joined(self.address) as ray:
            workers, need = cluster.share(ray, setup.device, setup.threads, self.workers)
            on_gpu = "num_gpus" in need
            setup = dataclasses.replace(
                setup,
                device="cuda" if on_gpu else "cpu",
                threads=setup.threads if on_gpu else need["num_cpus"],
            )
            lost = {item.name: item for item in todo}
            for outcome in _outcomes(setup.portable(), todo, workers, need):
                del lost[outcome.item.name]
                yield outcome
        for item in lost.values():
            yield Outcome(item, error=LOST.format(TRIES + 1))


def _outcomes(
    setup: Setup, todo: Sequence[Item], workers: int, need: dict[str, Any]
) -> Generator[Outcome, None, None]:
    """What came back; of items whose process died too often, nothing."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # the caller knows what is missing
    size = max(setup.together, -(-len(todo) // MOST_PARTS))
    parts = [{"items": pickle.dumps(todo[start : start + size])} for start in range(0, len(todo), size)]
    with warnings.catch_warnings():
        # No other way limits the tries, and without a limit a text that ends every process is tried for ever.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        dataset = ray.data.from_items(parts, override_num_blocks=len(parts)).map_batches(
            Worker, fn_constructor_args=(setup,), batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers), max_task_retries=TRIES, **need,
        )  # fmt: skip
    for row in dataset.iter_rows():
        outcomes = pickle.loads(row["outcomes"])
        if isinstance(outcomes, EngineError):
            raise outcomes
        yield from outcomes


class Worker:
    """A process of the cluster: a loaded engine, and a part of the items after the other."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._engine: Any = None
        try:
            self._engine = speaking.load(setup)
        except EngineError as error:  # raised here, Ray would start the process again and again
            self._error = error

    def __call__(self, part: dict[str, Any]) -> dict[str, Any]:
        """The outcomes of a part, pickled, or what is wrong with the model."""
        if self._engine is None:
            return {"outcomes": [pickle.dumps(self._error)]}
        (items,) = part["items"]
        return {"outcomes": [pickle.dumps(self._spoken(pickle.loads(items)))]}

    def _spoken(self, items: list[Item]) -> list[Outcome]:
        try:
            return speaking.speak(self._engine, items, self._setup)
        except Exception as error:  # noqa: BLE001 - it stands in the result of each item; the others go on
            reason = f"{type(error).__name__}: {error}"[:500]
            return [Outcome(item, error=reason) for item in items]
