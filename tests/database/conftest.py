"""Raw connections beside the books: what PostgreSQL refuses, it has to refuse to everybody."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.database.webhook_towns import Town
from tests.receiver import Receiver, receiving
from tests.servers import Connection, Servers
from tests.telling import run


@pytest.fixture
def app(servers: Servers) -> Iterator[Connection]:
    """A connection as the role that the program uses."""
    with closing(servers.app()) as connection:
        yield connection


@pytest.fixture
def owner(servers: Servers) -> Iterator[Connection]:
    """A connection as the role that owns the tables and migrates them."""
    with closing(servers.owner()) as connection:
        yield connection


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of the test's own."""
    with receiving() as open_receiver:
        yield open_receiver


def nobody_is_called(servers: Servers) -> None:
    """Disable every endpoint."""
    run(
        servers.engine,
        "UPDATE webhook_endpoint SET status = 'disabled', disabled_because = 'over', leased_until = NULL",
    )


@pytest.fixture
def towns(servers: Servers) -> Iterator[Callable[[], Town]]:
    """Markets before and after which there is no endpoint to post to."""
    made: list[Town] = []
    nobody_is_called(servers)  # of those that tests of other folders left, with secrets under keys of theirs

    def another() -> Town:
        made.append(Town(servers))
        return made[-1]

    yield another
    nobody_is_called(servers)
    for town in made:
        town.audit()
        town.pool.dispose()


@pytest.fixture
def town(towns: Callable[[], Town]) -> Town:
    """One such market."""
    return towns()
