"""The real workers of ``worker.py``, where tests can start, stop and kill them."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from google.protobuf.duration_pb2 import Duration
from sqlalchemy import Engine
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle

from activities.gateway import GatewayActivities
from activities.gateways.stripe import StripeGateway
from ledger.books import Books
from ledger.engine import connect
from ledger.keyring import Keyring
from ledger.seals import Seals
from starter.embedded.stack import Endpoints
from starter.payloads import connected
from tests.servers import Servers, eventually
from worker import READY, books_worker, gateway_worker
from workflows.visibility import SEARCH_ATTRIBUTES

_SLOTS: Final = 8
_READY_SECONDS: Final = 60.0
# Short, so that a gateway that does not answer is "unknown" after a second and not after fifteen.
_GATEWAY_TIMEOUT_SECONDS: Final = 1.0


async def temporal(endpoints: Endpoints) -> Client:
    """A client for the tests' own use."""
    return await connected(where(endpoints), Keyring.parse(endpoints.keys))


def where(endpoints: Endpoints) -> dict[str, Any]:
    """How to reach the stack's Temporal."""
    return {"target_host": endpoints.temporal_address, "namespace": endpoints.temporal_namespace}


async def pending(client: Client, handle: WorkflowHandle[Any, Any]) -> list[tuple[str, int, str]]:
    """A workflow's pending activities: type, attempt, and the message of the last failure, which is encrypted."""
    described = (await handle.describe()).raw_description.pending_activities
    decode = client.data_converter.decode_failure
    return [
        (
            one.activity_type.name,
            one.attempt,
            str(await decode(one.last_failure)) if one.HasField("last_failure") else "",
        )
        for one in described
    ]


async def own_namespace(servers: Servers, name: str) -> Servers:
    """The same servers with a Temporal namespace for oneself, where only one's own workers run."""
    client = await temporal(servers.endpoints)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86400))
    )
    kinds = {
        name: IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{kind.upper()}") for name, kind in SEARCH_ATTRIBUTES.items()
    }
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=name, search_attributes=kinds)
    )
    return replace(servers, endpoints=replace(servers.endpoints, temporal_namespace=name))


def gateway(endpoints: Endpoints) -> StripeGateway:
    """The real adapter on the stack's sandbox."""
    return StripeGateway(
        api_key=endpoints.stripe_api_key,
        api_base=endpoints.stripe_api_base,
        timeout_seconds=_GATEWAY_TIMEOUT_SECONDS,
    )


async def serve(endpoints: Endpoints, books: Books, ready: "Future[None]", stop: asyncio.Event) -> None:
    """Run both workers until told to stop."""
    client = await temporal(endpoints)
    provider = gateway(endpoints)
    async with (
        books_worker(client, books, provider.name, _SLOTS),
        gateway_worker(client, GatewayActivities(provider), _SLOTS),
    ):
        ready.set_result(None)
        await stop.wait()


class Workers:
    """Both workers on a thread of their own: like a process, but quick to start and to stop."""

    def __init__(self, servers: Servers) -> None:
        self._endpoints = servers.endpoints
        self._engine: Engine = connect(servers.endpoints.database_url, _SLOTS)
        self._books = Books(self._engine, seals=Seals(Keyring.parse(servers.endpoints.keys)))
        self._ready: Future[None] = Future()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="workers")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(_READY_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Finish what was begun and end; harmless when stopped already."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._engine.dispose()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(serve(self._endpoints, self._books, self._ready, self._stop))
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._loop.close()


@dataclass(frozen=True)
class WorkerProcess:
    """``tests.doomed`` as a process of its own, which dies by SIGKILL at the named moment."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @classmethod
    def start(cls, servers: Servers, log: Path, doom: str) -> Self:
        """Start it and wait until it works."""
        environment = {**os.environ, **servers.endpoints.environment(), "DOOM": doom, "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.doomed"], env=environment, stdout=output, stderr=subprocess.STDOUT
            )
        started = cls(process, log)
        started._wait()
        return started

    def _wait(self) -> None:
        eventually(lambda: READY in self.log.read_text() or self.process.poll() is not None, within=_READY_SECONDS)
        assert self.process.poll() is None, self.log.read_text()

    def died(self, within: float = 30.0) -> int:
        """Wait for its end and return how it ended: minus the signal."""
        return self.process.wait(within)

    def kill(self) -> None:
        """kill -9, if it still runs."""
        self.process.kill()
        self.process.wait()
