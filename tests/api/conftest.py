"""One API process and one pair of workers for all tests of this folder, and gone when the next folder begins."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.api.service import Api, Tenant
from tests.api.service import api as running_api
from tests.posting import posting
from tests.workers import Workers

if TYPE_CHECKING:
    from tests.servers import Servers


@pytest.fixture(scope="package")
def api(servers: "Servers", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A running API with workers behind it."""
    log = tmp_path_factory.mktemp("api") / "api.log"
    with (
        Workers(servers),
        posting(servers),
        running_api(servers, log, HOLDFAST_WEBHOOKS_ALLOW_LOOPBACK="true") as running,
    ):
        yield running


@pytest.fixture
def tenant(api: Api) -> Tenant:
    """A tenant of the test's own, with nothing in it."""
    return api.tenant()
