"""One sandbox per file, well-behaved at the start of each test; and an own one for those who kill it."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from activities.gateways.stripe import StripeGateway
from tests.gateway.sandbox_process import SandboxProcess


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    yield process
    process.stop()


@pytest.fixture
def sandbox(running: SandboxProcess) -> SandboxProcess:
    running.behave()
    return running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path)
    yield process
    process.kill()


@pytest.fixture
def gateway(sandbox: SandboxProcess) -> StripeGateway:
    return sandbox.gateway()


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key that no other test uses."""
    return f"{request.node.nodeid.split('::')[-1]}:1"


@pytest.fixture
def new_key(key: str) -> Callable[[], str]:
    numbers = count(2)
    return lambda: f"{key}:{next(numbers)}"
