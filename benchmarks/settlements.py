"""Settlements per second: the buyer approves milestones through ``LedgerActivities.apply``, as the worker calls it.

Next to pgbench writing the same rows into the same tables of the same server, in turns.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Engine

from activities.ledger import LedgerActivities
from benchmarks import marketplace, pgbench
from benchmarks.figures import Figure, compare
from ledger.books import Books
from ledger.engine import connect
from ledger.load import Connection
from starter.embedded.stack import Endpoints

CONCURRENT = 16
_WARM_UP = 10 * CONCURRENT


@dataclass(frozen=True)
class Size:
    """How many rounds, and how many settlements each side makes in a round, alone and with 16 at a time."""

    rounds: int
    alone: int
    together: int

    @property
    def clones(self) -> int:
        """How many escrows that takes."""
        return 2 * _WARM_UP + self.rounds * 2 * (self.alone + self.together)


class Range:
    """Hands out numbers, so that every escrow is settled once."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> range:
        """The next ``count`` numbers."""
        taken = range(self._next, self._next + count)
        self._next = taken.stop
        return taken


def measure(endpoints: Endpoints, directory: Path, size: Size, progress: Callable[[str], None]) -> list[Figure]:
    """Run all rounds and compare."""
    engine, owner = connect(endpoints.database_url, CONCURRENT), connect(endpoints.migration_url, 1)
    try:
        progress(f"settlements: preparing {size.clones:,} escrows")
        books = Books(engine)
        original = marketplace.submitted(books, marketplace.open_marketplace(engine, "0.10"))
        marketplace.clone(owner, original, range(size.clones))
        return _rounds(engine, books, endpoints, directory, size, progress)
    finally:
        engine.dispose()
        owner.dispose()


def _rounds(
    engine: Engine, books: Books, endpoints: Endpoints, directory: Path, size: Size, progress: Callable[[str], None]
) -> list[Figure]:
    activities, numbers = LedgerActivities(books, "stripe"), Range()
    settle(activities, numbers.take(_WARM_UP), CONCURRENT)
    with closing(engine.raw_connection()) as pooled:
        connection = cast("Connection", pooled.driver_connection)
        script = pgbench.write_script(connection, directory / "settle.sql", 0, endpoints.database_url)
    script.run(numbers.take(_WARM_UP), CONCURRENT)
    pairs: dict[int, list[tuple[float, float]]] = {1: [], CONCURRENT: []}
    for turn in range(size.rounds):
        progress(f"settlements: round {turn + 1} of {size.rounds}")
        for concurrent, count in ((1, size.alone), (CONCURRENT, size.together)):
            theirs = script.run(numbers.take(count), concurrent)
            ours = settle(activities, numbers.take(count), concurrent)
            pairs[concurrent].append((ours, theirs))
    speed_up = [(many[0], one[0]) for one, many in zip(pairs[1], pairs[CONCURRENT], strict=True)]
    return [
        compare("settlements, one at a time, against pgbench -c 1", "1/s", pairs[1]),
        compare(f"settlements, {CONCURRENT} at a time, against pgbench -c {CONCURRENT}", "1/s", pairs[CONCURRENT]),
        compare(f"settlements, {CONCURRENT} at a time, against one at a time", "1/s", speed_up),
    ]


def settle(activities: LedgerActivities, numbers: range, concurrent: int) -> float:
    """Approve the clones with these numbers on that many threads; answers settlements per second."""
    commands = list(marketplace.approvals(numbers))
    with ThreadPoolExecutor(concurrent) as pool:
        started = time.perf_counter()
        outcomes = list(pool.map(activities.apply, commands))
        seconds = time.perf_counter() - started
    refused = next((outcome.refusal for outcome in outcomes if outcome.refusal), None)
    if refused:
        raise RuntimeError(f"an approval was refused: {refused}")
    return len(commands) / seconds
