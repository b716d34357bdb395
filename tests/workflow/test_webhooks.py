"""The workflow that posts webhooks on real servers: it goes on for ever, and who is slow or dead delays nobody else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import pytest
from sqlalchemy import Engine, text
from temporalio.client import WorkflowExecutionStatus

from activities import webhooks as posting
from activities.webhooks import Postman, WebhookActivities
from ledger import webhooks
from ledger.engine import connect, for_tenant
from ledger.posting import PostingQueue
from models.states import State
from starter.delivery import WEBHOOKS, ensure_webhooks
from tests.market import KEYS
from tests.receiver import Receiver, receiving
from tests.servers import soon
from tests.telling import run
from tests.workers import Workers, pending
from tests.workflow.scene import Scene
from tests.workflow.test_outages import no_database
from worker import webhooks_worker
from workflows import timeouts
from workflows import webhooks as workflow_module

pytestmark = pytest.mark.anyio

STARTED: Final = ["escrow.created", "escrow.funded", "escrow.started"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of the test's own."""
    with receiving() as open_receiver:
        yield open_receiver


@pytest.fixture
def api(alone: Scene) -> Iterator[Engine]:
    """The API's own connection to the scene's tenant; no endpoint is left behind."""
    pool = connect(alone.servers.endpoints.api_database_url, 2)
    yield for_tenant(pool, alone.market.tenant)
    run(
        alone.servers.engine,
        "UPDATE webhook_endpoint SET status = 'disabled', disabled_because = 'over', leased_until = NULL",
    )
    pool.dispose()


@asynccontextmanager
async def posters(scene: Scene, call_seconds: int = 15) -> AsyncIterator[None]:
    """The worker that posts, in the scene's namespace, with a pool of its own."""
    engine = connect(scene.servers.endpoints.database_url, timeouts.WEBHOOKS_CONNECTIONS)
    queue = PostingQueue(engine)
    postman = Postman(queue, KEYS, allow_loopback=True, call_seconds=call_seconds)
    async with webhooks_worker(scene.client, WebhookActivities(queue, postman)):
        await ensure_webhooks(scene.client)
        yield
    engine.dispose()


def register(scene: Scene, api: Engine, url: str) -> webhooks.NewSecret:
    """An endpoint of the scene's tenant, after all that happened so far."""
    queue = PostingQueue(scene.servers.engine)
    while queue.number():
        pass
    return webhooks.create_endpoint(api, KEYS, scene.market.tenant, url, ["*"])


async def arrived(receiver: Receiver, count: int, path: str = "/", within: float = 20.0) -> None:
    """Wait for that many events at a path."""

    async def there() -> bool:
        return len(receiver.at(path)) >= count

    await soon(there, within)


async def test_a_deal_is_posted_while_it_goes_on(alone: Scene, api: Engine, receiver: Receiver) -> None:
    """What commands through Temporal do is at the platform soon after, signed and in order."""
    made = register(alone, api, receiver.url)
    with Workers(alone.servers):
        async with posters(alone):
            escrow = await alone.at(State.IN_PROGRESS)
            await arrived(receiver, 3)
    events = [one.verified(made.secret) for one in receiver.arrived]
    assert [one["type"] for one in events] == STARTED
    assert {one["escrow"] for one in events} == {escrow.id}
    assert [one["sequence"] for one in events] == [1, 2, 3]


async def test_a_dead_a_silent_and_a_failing_endpoint_delay_no_living_one(
    alone: Scene, api: Engine, receiver: Receiver
) -> None:
    """One refuses connections, one takes them and says nothing; the third has all its events meanwhile."""
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    dead, hanging = register(alone, api, "http://127.0.0.1:9/"), f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    slow = register(alone, api, f"http://{hanging}/")
    register(alone, api, receiver.url)
    for _ in range(3):
        alone.market.at(State.IN_PROGRESS)
    async with posters(alone, call_seconds=8):
        began = monotonic()
        await arrived(receiver, 9)
        assert monotonic() - began < 8

        async def both_tried() -> bool:
            found = [webhooks.endpoint(api, alone.market.tenant, one.endpoint.id) for one in (dead, slow)]
            return all(one.failing_since for one in found)

        await soon(both_tried, within=30)
    silent.close()


async def test_what_failed_is_posted_when_it_is_due_again(alone: Scene, api: Engine, receiver: Receiver) -> None:
    """A receiver that was down for a while has every event in the end, each under one id."""
    register(alone, api, receiver.url)
    receiver.answer = (500, {}, b"")
    alone.market.at(State.IN_PROGRESS)
    async with posters(alone):
        await arrived(receiver, 3)
        receiver.answer = (204, {}, b"")

        async def all_delivered() -> bool:
            run(alone.servers.engine, "UPDATE webhook_endpoint SET rest_until = NULL")
            run(
                alone.servers.engine,
                "UPDATE webhook_delivery SET next_attempt_at = now() WHERE status = 'pending' AND tenant_id = :t",
                t=alone.market.tenant,
            )
            return not alone.market.scalar(
                "SELECT count(*) FROM webhook_delivery WHERE tenant_id = :tenant AND status = 'pending'"
            )

        await soon(all_delivered)
    assert len({one.headers["webhook-id"] for one in receiver.arrived}) == 3


async def test_the_workflow_of_webhooks_goes_on_with_a_fresh_history(
    alone: Scene, api: Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some rounds the workflow continues as new, and still posts."""
    monkeypatch.setattr(timeouts, "WEBHOOKS_ROUNDS", 1)
    monkeypatch.setattr(workflow_module, "WEBHOOKS_ROUNDS", 1)
    monkeypatch.setattr(posting, "_WORK_FOR_SECONDS", 0)
    async with posters(alone):
        first = (await alone.client.get_workflow_handle(WEBHOOKS).describe()).run_id

        async def renewed() -> bool:
            return (await alone.client.get_workflow_handle(WEBHOOKS).describe()).run_id != first

        await soon(renewed)
        monkeypatch.setattr(posting, "_WORK_FOR_SECONDS", 60)
        register(alone, api, receiver.url)
        alone.market.at(State.FUNDED)
        await arrived(receiver, 2)


async def test_the_workflow_of_webhooks_is_started_once_and_again_when_somebody_ended_it(alone: Scene) -> None:
    """Every worker starts it; there is one. Terminated by hand, the next worker's start brings it back."""
    first, second = await asyncio.gather(ensure_webhooks(alone.client), ensure_webhooks(alone.client))
    assert first.result_run_id is not None
    assert (await second.describe()).run_id == (await first.describe()).run_id
    await first.terminate("by hand")
    await ensure_webhooks(alone.client)
    described = await alone.client.get_workflow_handle(WEBHOOKS).describe()
    assert described.status == WorkflowExecutionStatus.RUNNING
    assert described.run_id != first.result_run_id


async def test_edge_47_without_postgresql_nothing_is_posted_and_then_everything(
    alone: Scene, api: Engine, receiver: Receiver
) -> None:
    """The activities wait visibly, with a reason that quotes no row; then every event arrives."""
    register(alone, api, receiver.url)
    alone.market.at(State.FUNDED)
    handle = alone.client.get_workflow_handle(WEBHOOKS)
    with no_database(alone.servers):
        async with posters(alone):

            async def retried() -> list[str]:
                found = [why for _, attempt, why in await pending(alone.client, handle) if attempt > 2]
                return found if len(found) == timeouts.WEBHOOKS_LANES + 1 else []

            failures = await soon(retried, within=40)
            assert [why for why in failures if "holdfast_app" not in why or "\n" in why] == []
    async with posters(alone):
        await arrived(receiver, 2, within=40)


async def test_a_worker_that_shuts_down_ends_posting_at_once(alone: Scene, api: Engine, receiver: Receiver) -> None:
    """An idle poster ends at once, and the next worker's goes on where it was."""
    register(alone, api, receiver.url)
    async with posters(alone):
        alone.market.at(State.CREATED)
        await arrived(receiver, 1)
        began = monotonic()
    assert monotonic() - began < 5
    alone.market.at(State.CREATED)
    async with posters(alone):
        await arrived(receiver, 2)
    with alone.servers.engine.connect() as connection:
        leased = connection.execute(text("SELECT count(*) FROM webhook_endpoint WHERE leased_until > now()")).scalar()
    assert leased == 0
