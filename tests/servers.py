"""The real servers that tests share: one embedded stack per test process, started by the first test that needs it."""

import asyncio
import json
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import TupleRow
from sqlalchemy import Engine, make_url

from ledger.engine import connect
from starter.embedded import postgres, temporal_server
from starter.embedded.child import spawn
from starter.embedded.home import Home
from starter.embedded.stack import Endpoints, Stack
from tests.gateway.sandbox_process import free_port

Connection = psycopg.Connection[TupleRow]
Value = TypeVar("Value")

_LOOK_AGAIN_SECONDS: Final = 0.02
_CONNECTIONS: Final = 24
_FEW_EVENTS: Final = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=40")


@dataclass(frozen=True)
class Servers:
    """PostgreSQL, Temporal and the payment sandbox in ``home``; no worker. ``engine`` is the program's own kind."""

    home: Path
    endpoints: Endpoints
    engine: Engine

    def app(self) -> Connection:
        """Connect as the role that the program uses."""
        return psycopg.connect(_plain(self.endpoints.database_url))

    def owner(self) -> Connection:
        """Connect as the role that owns the tables."""
        return psycopg.connect(_plain(self.endpoints.migration_url))

    def superuser(self, database: str = postgres.DATABASE) -> Connection:
        """Connect as PostgreSQL's administrator, each statement for itself."""
        password = json.loads((self.home / "secrets.json").read_text())["postgres"]
        port = make_url(self.endpoints.database_url).port
        assert port is not None
        return psycopg.connect(_plain(postgres.url("postgres", password, port, database)), autocommit=True)


@contextmanager
def servers() -> Iterator[Servers]:
    """Start the stack without its worker; the tests bring workers of their own, to stop and kill them."""
    # Not pytest's tmp_path: every pytest that starts closes its directory, and PostgreSQL has to pass there.
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        with Stack(home, progress=lambda _: None, worker=False) as endpoints:
            engine = connect(endpoints.database_url, _CONNECTIONS)
            yield Servers(home, endpoints, engine)
            engine.dispose()


@contextmanager
def short_histories(running: Servers) -> Iterator[Servers]:
    """The same servers with a Temporal of its own, which suggests a fresh history after few events."""
    with tempfile.TemporaryDirectory() as directory:
        home, port = Home(Path(directory)), free_port()
        home.logs.mkdir()
        service = temporal_server.service(home, port, free_port())
        child = spawn(replace(service.command, argv=(*service.command.argv, *_FEW_EVENTS)))
        try:
            child.wait_until(lambda: service.ready(child), service.ready_within)
            own = {"temporal_address": f"127.0.0.1:{port}", "temporal_namespace": temporal_server.NAMESPACE}
            yield replace(running, endpoints=replace(running.endpoints, **own))
        finally:
            child.stop()


def eventually(condition: Callable[[], Value], within: float = 20.0) -> Value:
    """Wait until the condition holds and return its value."""
    deadline = monotonic() + within
    while not (value := condition()):
        assert monotonic() < deadline, f"not true within {within} s"
        threading.Event().wait(_LOOK_AGAIN_SECONDS)
    return value


async def soon(condition: Callable[[], Awaitable[Value]], within: float = 20.0) -> Value:
    """Wait until the asynchronous condition holds and return its value."""
    deadline = monotonic() + within
    while not (value := await condition()):
        assert monotonic() < deadline, f"not true within {within} s"
        await asyncio.to_thread(threading.Event().wait, _LOOK_AGAIN_SECONDS)
    return value


def one(connection: Connection, query: str, *parameters: Any) -> Any:
    """The single value that a query answers."""
    row = connection.execute(query.encode(), parameters or None).fetchone()
    return row[0] if row else None


def _plain(url: str) -> str:
    return url.replace("+psycopg", "")
