"""One API process and one pair of workers for what is thrown at the doors of this folder."""

from collections.abc import Iterator

import pytest

from tests.api.service import Api, Tenant
from tests.api.service import api as running_api
from tests.market import Market
from tests.servers import Servers
from tests.workers import Workers, temporal
from tests.workflow.scene import Scene


@pytest.fixture(scope="session")
def taking(servers: Servers) -> Iterator[Workers]:
    """The workers of the default namespace."""
    with Workers(servers) as running:
        yield running


@pytest.fixture(scope="package")
def api(servers: Servers, taking: Workers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API that takes as many requests as come."""
    log = tmp_path_factory.mktemp("hostile") / "api.log"
    with running_api(servers, log, HOLDFAST_API_REQUESTS_PER_SECOND="100000") as running:
        yield running


@pytest.fixture(scope="package")
def tenant(api: Api) -> Tenant:
    """A tenant with a fee policy, a seller who can be paid, and money in the buyer's wallet."""
    return api.tenant().ready()


@pytest.fixture
async def scene(servers: Servers, market: Market, taking: Workers) -> Scene:
    """A tenant of the test's own, whose escrows live in Temporal."""
    return Scene.of(servers, market, await temporal(servers.endpoints))
