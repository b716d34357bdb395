"""A market whose escrows live in Temporal: commands go through the real sender to the real worker."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import httpx
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from ledger import reads
from ledger.keyring import Keyring
from ledger.seals import Seals
from models import ids
from models.commands import Command
from models.errors import Refusal, RefusedError
from models.escrow import Escrow
from models.states import State
from starter.embedded.home import Endpoints
from starter.sender import Sender
from tests.builders import PATHS, a_create, order
from tests.market import KEYS, Market
from tests.servers import Servers, soon
from workflows.escrow import EscrowWorkflow
from workflows.inputs import EscrowInput
from workflows.timeouts import TASK_QUEUE

Value = TypeVar("Value")
Sent = TypeVar("Sent", bound=Command)
# After a worker's death Temporal waits for a workflow task as long as this before it gives it to another.
WORKFLOW_TASK_TIMEOUT: Final = timedelta(seconds=2)


@dataclass
class Scene:
    """One tenant, and everything a test needs to play and watch its deals."""

    servers: Servers
    market: Market
    client: Client
    sender: Sender

    @classmethod
    def of(cls, servers: Servers, market: Market, client: Client) -> "Scene":
        """A scene in the client's namespace."""
        sender = Sender(client, servers.engine, timedelta(seconds=60), seals=seals(servers))
        return cls(servers, market, client, sender)

    @property
    def keys(self) -> Keyring:
        """The stack's own keys, and those under which a market's parties are encrypted."""
        return Keyring(Keyring.parse(self.servers.endpoints.keys).keys | KEYS.keys)

    def sealed(self, command: Sent) -> Sent:
        """The command as a program that has the keys sends it, for those who send it without the sender."""
        return seals(self.servers).seal(command, self.market.tenant)

    async def create(self, **fields: Any) -> Escrow:
        """Agree on an escrow; its workflow starts with it. ``fields`` go to ``builders.a_create``."""
        return await self.sender.send(a_create(**({"tenant": self.market.tenant} | fields)))

    async def at(self, state: State, **fields: Any) -> Escrow:
        """An escrow that commands through its workflow brought to a state."""
        escrow = await self.create(**fields)
        for kind in PATHS[state]:
            escrow = await self.do(kind, escrow)
        return escrow

    async def do(self, kind: type[Command], escrow: Escrow, **fields: Any) -> Escrow:
        """Send a usual command (see ``builders.order``) that has to be accepted."""
        return await self.sender.send(order(kind, escrow, **fields))

    async def refused(self, kind: type[Command], escrow: Escrow, **fields: Any) -> Refusal:
        """Send a usual command that has to be refused."""
        return await self.refusal(order(kind, escrow, **fields))

    async def refusal(self, command: Command) -> Refusal:
        """Send a command that has to be refused."""
        try:
            await self.sender.send(command)
        except RefusedError as error:
            return error.refusal
        raise AssertionError(f"{command.name} should have been refused")

    async def start(self, escrow: Escrow) -> WorkflowHandle[Any, Any]:
        """Start the workflow of an escrow that the books have already, as a rebuild does."""
        return await self.client.start_workflow(
            EscrowWorkflow.run,
            EscrowInput(escrow=escrow.id),
            id=ids.escrow_workflow(escrow.id),
            task_queue=TASK_QUEUE,
            task_timeout=WORKFLOW_TASK_TIMEOUT,
        )

    async def advance(self, to: timedelta) -> None:
        """Move the tenant's clock; every deadline that came due has then been handled."""
        await self.sender.advance_clock(self.market.tenant, to)

    def handle(self, escrow: Escrow) -> WorkflowHandle[Any, Any]:
        """The escrow's workflow."""
        return self.client.get_workflow_handle(ids.escrow_workflow(escrow.id))

    async def until(self, escrow: Escrow, condition: Callable[[Escrow], Value], within: float = 20.0) -> Escrow:
        """Wait until the books say so, and answer the escrow."""

        async def look() -> Escrow | None:
            found = reads.escrow(self.servers.engine, escrow.id)
            return found if found and condition(found) else None

        found = await soon(look, within)
        assert found is not None
        return found

    async def run_id(self, escrow: Escrow) -> str:
        """The escrow's current run."""
        return (await self.handle(escrow).describe()).run_id

    async def status(self, escrow: Escrow) -> WorkflowExecutionStatus | None:
        """How the escrow's workflow stands with Temporal."""
        return (await self.handle(escrow).describe()).status

    async def completed(self, escrow: Escrow, within: float = 20.0) -> str:
        """Wait until the escrow's workflow is over, and answer what it said."""

        async def over() -> bool:
            return await self.status(escrow) != WorkflowExecutionStatus.RUNNING

        await soon(over, within)
        return str(await self.handle(escrow).result())

    async def history(self, escrow: Escrow) -> list[str]:
        """The escrow's workflow's events by name, such as ``TIMER_STARTED``."""
        return await history(self.handle(escrow))


async def history(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """A workflow's events by name, such as ``TIMER_STARTED``."""
    return [
        EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") async for event in handle.fetch_history_events()
    ]


def seals(servers: Servers) -> Seals:
    """Seals of the stack's own keys."""
    return Seals(Keyring.parse(servers.endpoints.keys))


class Sandbox:
    """The stack's payment sandbox as its tests see it: faults go in, books come out."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._http = httpx.Client(base_url=endpoints.stripe_api_base, auth=(endpoints.stripe_api_key, ""))

    def fault(self, operation: str, fault: str, times: int = 1, **more: Any) -> None:
        """Queue a fault for the requests that ``match`` (see ``starter.sandbox.faults``)."""
        document = {"operation": operation, "fault": fault, "times": times, **more}
        self._http.post("/sandbox/faults", json=document).raise_for_status()

    def behave(self) -> None:
        """Clear all faults."""
        self._http.delete("/sandbox/faults").raise_for_status()

    def requests(self, key: str) -> list[dict[str, Any]]:
        """Every request that came with this key."""
        return list(self._http.get("/sandbox/journal", params={"key": key}).json())

    def transfers(self, key: str) -> list[dict[str, Any]]:
        """The transfers that were made under a key."""
        return self._list("transfers", transfer_group=key)

    def charges(self, key: str) -> list[dict[str, Any]]:
        """The charges that were made under a key."""
        return self._list("charges", transfer_group=key)

    def look_ups(self, path: str, **filters: str) -> list[dict[str, Any]]:
        """Every request to read this, oldest first."""
        lines = self._http.get("/sandbox/journal").json()
        wanted = {"limit": "100", **filters} if filters else {}
        return [one for one in lines if (one["method"], one["path"], one["params"]) == ("GET", f"/v1/{path}", wanted)]

    def happen(self, name: str, **what: Any) -> dict[str, Any]:
        """Let something happen that nobody asked for (see ``starter.sandbox.happenings``); answers what it changed."""
        answer = self._http.post(f"/sandbox/happenings/{name}", json=what)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def events(self, *references: str) -> list[dict[str, Any]]:
        """Every event about these objects of the provider's, oldest first."""
        told = self._http.get("/sandbox/events").json()
        return [one for one in told if one["data"]["object"]["id"] in references]

    def _list(self, path: str, **filters: str) -> list[dict[str, Any]]:
        return list(self._http.get(f"/v1/{path}", params={"limit": "100", **filters}).json()["data"])
