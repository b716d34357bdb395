"""Fixtures for every group that needs real servers; a group that needs none starts none."""

import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.market import Market
    from tests.servers import Servers

# Whoever shares the files out keeps to this order: the long ones first, so that no processor waits for one in the end,
# and folders whole, so that what their files share is started once for each process. Other folders are in between.
_FIRST: Final = ("end_to_end", "workflow", "database", "api")
_LAST: Final = ("gateway", "unit")

# A shell has what runs in its background ignore Ctrl-C, and so would every process that a test means to interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders in their order; the order within each stays."""
    items.sort(key=lambda item: _place(item.path.parent.name))


def _place(folder: str) -> int:
    if folder in _LAST:
        return len(_FIRST) + 1 + _LAST.index(folder)
    return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)


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
