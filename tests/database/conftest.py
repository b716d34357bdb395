"""Raw connections beside the books: what PostgreSQL refuses, it has to refuse to everybody."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.servers import Connection, Servers


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
