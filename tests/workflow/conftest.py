"""One worker for all who leave it alone, and namespaces of their own for those who stop or kill theirs."""

import re
from collections.abc import Iterator

import pytest

from tests.market import Market
from tests.servers import Servers
from tests.workers import Workers, own_namespace, temporal
from tests.workflow.scene import Sandbox, Scene


@pytest.fixture(scope="session")
def workers(servers: Servers) -> Iterator[Workers]:
    """The worker of the default namespace, for the whole session."""
    with Workers(servers) as running:
        yield running


@pytest.fixture
async def scene(servers: Servers, market: Market, workers: Workers) -> Scene:
    """A tenant of the test's own, with a worker that works."""
    return Scene.of(servers, market, await temporal(servers.endpoints))


@pytest.fixture
async def alone(servers: Servers, market: Market, request: pytest.FixtureRequest) -> Scene:
    """A tenant in a namespace of its own: no worker runs there but those that the test starts."""
    name = re.sub(r"\W", "-", request.node.name)[:200]
    apart = await own_namespace(servers, name)
    return Scene.of(apart, market, await temporal(apart.endpoints))


@pytest.fixture
def sandbox(servers: Servers) -> Iterator[Sandbox]:
    """The stack's payment sandbox, well-behaved again after the test."""
    sandbox = Sandbox(servers.endpoints)
    yield sandbox
    sandbox.behave()
