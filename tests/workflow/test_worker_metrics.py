"""What a worker tells of itself: two ports of metrics, a line per command, and the line that says it works."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from activities.ledger import LedgerActivities
from activities.metrics import BooksMetrics
from models.commands import Fund, StartWork
from models.states import State
from starter.embedded.stack import WORKER_READY
from tests.builders import order
from tests.log_lines import lines, logged
from tests.market import Market
from tests.servers import Servers, eventually


@contextmanager
def worker(servers: Servers, log: Path, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker process, from its start until it is told to stop."""
    environment = {**os.environ, **servers.endpoints.environment(), **settings}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker"], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def two_ports() -> int:
    """A free port whose neighbour above is free as well."""

    def found() -> int:
        with closing(socket.create_server(("127.0.0.1", 0))) as first:
            port = int(first.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                return 0
        return port

    return eventually(found)


def test_a_worker_serves_its_metrics_and_temporals_and_still_says_that_it_is_ready(
    servers: Servers, tmp_path: Path
) -> None:
    """The line that others wait for stays a line of its own between those of the log."""
    port, log = two_ports(), tmp_path / "worker.log"
    with worker(servers, log, HOLDFAST_WORKER_METRICS_PORT=str(port)) as process:
        eventually(lambda: WORKER_READY in log.read_text().splitlines() or process.poll() is not None, within=60)
        assert process.poll() is None, log.read_text()
        ours = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        temporals = httpx.get(f"http://127.0.0.1:{port + 1}/metrics", trust_env=False).text
    assert "# TYPE holdfast_books_commands_total counter" in ours
    assert "process_start_time_seconds" in ours
    assert re.search(r"^temporal_num_pollers", temporals, re.MULTILINE)
    for line in log.read_text().splitlines():
        assert line == WORKER_READY or json.loads(line)


def test_a_port_that_is_taken_is_named_and_the_worker_does_not_start(servers: Servers, tmp_path: Path) -> None:
    """Rather than a worker that nobody can look into."""
    log = tmp_path / "worker.log"
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with worker(servers, log, HOLDFAST_WORKER_METRICS_PORT=str(port)) as process:
            assert process.wait(60) != 0
    assert f"HOLDFAST_WORKER_METRICS_PORT: no metrics can be served at 127.0.0.1, ports {port}" in log.read_text()


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_command_is_counted_by_its_outcome_and_is_one_line(market: Market, level: str) -> None:
    """Refused ones at info; accepted ones only for who wants to see all of them."""
    registry = CollectorRegistry()
    activities = LedgerActivities(market.books, "stripe", BooksMetrics(registry))
    escrow = market.at(State.CREATED)
    with logged(level="debug" if level == "debug" else "info") as stream:
        refused, accepted = order(StartWork, escrow), order(Fund, escrow)
        activities.apply(refused)
        activities.apply(accepted)
    told = [(one["command"], one["command_name"], one["escrow"], one["outcome"]) for one in lines(stream)]
    expected = [(refused.id, "start_work", escrow.id, "invalid_transition")]
    if level == "debug":
        expected.append((accepted.id, "fund", escrow.id, "accepted"))
    assert told == expected
    for name, outcome in (("start_work", "invalid_transition"), ("fund", "accepted")):
        labels = {"name": name, "outcome": outcome}
        assert registry.get_sample_value("holdfast_books_commands_total", labels) == 1
        assert registry.get_sample_value("holdfast_books_command_seconds_count", {"name": name}) == 1
    assert logging.getLogger("temporalio.activity").handlers == []
