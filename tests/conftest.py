"""Fixtures for every group that needs real servers; a group that needs none starts none."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.market import Market
    from tests.servers import Servers


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, by the plugin that httpx and Starlette bring along."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator["Servers"]:
    """The embedded stack of this test process."""
    from tests.servers import servers  # groups without servers do not load them

    with servers() as running:
        yield running


@pytest.fixture
def market(servers: "Servers") -> Iterator["Market"]:
    """A tenant of the test's own, with its books checked when the test is over."""
    from tests.market import Market

    market = Market(servers.engine)
    yield market
    market.audit()
