"""The clients, as Locust runs them in a process of their own: one line of JSON for every request.

`python -m locust -f tests/studies/load/locustfile.py --headless --plan plan.json --samples out.jsonl ...`,
which `clients.py` calls.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.event
from locust import HttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from requests.adapters import HTTPAdapter

from tests.studies.load.plan import Plan, Said

POOL = 256
CHUNK = 4096


@events.init_command_line_parser.add_listener
def _arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--plan", required=True, help="what the clients do (JSON)")
    parser.add_argument("--samples", required=True, help="the file to write, a line a request")


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    """What all clients share: the plan, the file, and the moment at which the phase begins."""
    options = environment.parsed_options
    environment.plan = Plan.model_validate_json(Path(options.plan).read_text())
    environment.samples = Path(options.samples)
    environment.clients = iter(range(10**6))
    environment.begun = None
    environment.active = 0


@events.spawning_complete.add_listener
def _begin(user_count: int) -> None:
    """All clients are there: they begin together."""
    Speaker.gate.set()


class Speaker(HttpUser):
    """One client of a closed phase, or all arrivals of an open one."""

    wait_time = constant(0)
    gate = gevent.event.Event()

    def on_start(self) -> None:
        """Wait until all clients are there."""
        self.number = next(self.environment.clients)
        self.client.mount("http://", HTTPAdapter(pool_maxsize=POOL))
        self.environment.active += 1
        self.gate.wait()
        if self.environment.begun is None:
            self.environment.begun = time.perf_counter()

    @task
    def speak(self) -> None:
        """Do the whole plan, then leave; the last one ends the run."""
        plan: Plan = self.environment.plan
        script = plan.script(self.number)
        (self._arrive if plan.arrivals == "open" else self._talk)(plan, script)
        self.environment.active -= 1
        if not self.environment.active:
            gevent.spawn(self.environment.runner.quit)
        raise StopUser

    def _now(self) -> float:
        return time.perf_counter() - self.environment.begun

    def _talk(self, plan: Plan, script: Iterator[Said]) -> None:
        """Closed: the next request begins when the last one was answered."""
        for said in itertools.islice(script, plan.turns):
            if self._now() >= plan.seconds:
                break
            self._ask(said, self._now(), plan.patience)

    def _arrive(self, plan: Plan, script: Iterator[Said]) -> None:
        """Open: each request has its moment, whether or not those before it were answered."""
        running = []
        for moment in plan.moments():
            gevent.sleep(max(0.0, moment - self._now()))
            running.append(gevent.spawn(self._ask, next(script), moment, plan.patience))
        gevent.joinall(running)

    def _ask(self, said: Said, moment: float, patience: float) -> None:
        """One request, timed from the moment at which it was due; its line is written whatever happens."""
        body = {"text": said.text, "seed": said.seed, "format": "wav"}
        line: dict[str, Any] = {"at": moment, "route": said.route, "status": 0, "first": None, "bytes": 0}
        settings = {"json": body, "stream": True, "timeout": patience, "catch_response": True}
        try:
            with self.client.post(said.route, **settings) as response:
                line["status"] = response.status_code
                if not response.status_code:
                    raise response.error  # Locust keeps what prevented an answer
                for chunk in response.iter_content(CHUNK):
                    if line["first"] is None:
                        line["first"] = self._now() - moment
                    line["bytes"] += len(chunk)
                if response.status_code == 429:
                    response.success()  # refused is an answer; it is counted apart
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this request
            line["error"] = type(error).__name__
        line["seconds"] = self._now() - moment
        with self.environment.samples.open("a") as file:
            file.write(json.dumps(line) + "\n")
