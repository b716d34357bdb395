"""Rounds of races, straight at the books, from a pool of their own in which PostgreSQL counts deadlocks.

``make races`` plays RACES_ROUNDS of them, and as long over HTTP; RACES_SEED plays the same commands again, though
nothing makes the timing the same.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random
from typing import Final

from sqlalchemy import Engine, event

from ledger.engine import connect
from tests.database.books_machine import Tally
from tests.races.conflicts import next_race
from tests.races.town import RIVALS, Crowd, Town
from tests.servers import Servers, eventually, one

# The model of a town is compared whole after each race, so a town is left before it is large.
RACES_OF_A_TOWN: Final = 30
_DEADLOCKS: Final = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@contextmanager
def without_deadlocks(servers: Servers, connections: int = RIVALS + 2) -> Iterator[Engine]:
    """A pool of its own. When it is left, PostgreSQL has counted not one deadlock more than before."""
    pids: set[int] = set()
    with closing(servers.superuser()) as connection:
        before = one(connection, _DEADLOCKS)
        engine = connect(servers.endpoints.database_url, connections)
        event.listen(engine, "connect", lambda made, _: pids.add(made.info.backend_pid))
        yield engine
        engine.dispose()
        # A backend reports its deadlocks at the latest when it ends.
        eventually(lambda: not one(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", list(pids)))
        connection.execute("SELECT pg_stat_clear_snapshot()")
        assert one(connection, _DEADLOCKS) == before, "PostgreSQL has seen a deadlock"


def play(engine: Engine, seed: str, rounds: int, tally: Tally) -> None:
    """Race so many times. Raises what the model says otherwise, with the race's number and commands."""
    crowd = Crowd()
    try:
        for first in range(0, rounds, RACES_OF_A_TOWN):
            _play_town(engine, crowd, f"{seed}:{first}", range(first, min(rounds, first + RACES_OF_A_TOWN)), tally)
    finally:
        crowd.close()


def _play_town(engine: Engine, crowd: Crowd, seed: str, numbers: range, tally: Tally) -> None:
    dice = Random(seed)  # noqa: S311 - the same commands every time
    town = Town(engine, crowd, dice, tally)
    for number in numbers:
        name, commands = next_race(town, dice, number)
        try:
            town.race(*commands)
        except Exception as error:
            error.add_note(f"race {number} ({name}) of seed {seed}: {[one.name for one in commands]}")
            raise
    tally.stories += 1
    town.end()
