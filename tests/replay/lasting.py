"""Histories of the workflows beside the escrows: news, webhooks and what the provider tells, which are never over, for
a few rounds; and a reconciliation.

What they command in which order is chance, so that they have no fingerprint.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowHandle, WorkflowHistory
from temporalio.worker import Worker

from activities.gateway_events import GatewayEventActivities
from activities.ledger import LedgerActivities
from activities.notifications import Courier, NotificationActivities
from activities.reconciliation import ReconciliationActivities
from activities.standing import Standing
from activities.webhooks import Postman, WebhookActivities
from ledger.books import Books
from ledger.gateway_events import GatewayEvents
from ledger.outbox import Outbox
from ledger.posting import PostingQueue
from models.commands import Cancel
from models.escrow import Escrow
from models.states import PayoutStatus, State
from starter.delivery import ensure_delivery, ensure_gateway_events, ensure_webhooks
from tests.market import KEYS, Market
from tests.provider import tell
from tests.servers import Servers, soon
from tests.workers import gateway
from tests.workflow.scene import Sandbox, Scene
from worker import gateway_events_worker, notifications_worker, reconciliation_worker, webhooks_worker
from workflows import timeouts
from workflows.reconcile import RECONCILIATION, DailyReconciliationWorkflow

_ROUNDS: Final = 2


async def play_lasting(running: Servers, client: Client) -> dict[str, list[WorkflowHistory]]:
    """Play a few rounds of each, beside workers for escrows that are there already."""
    engine = running.engine
    news = NotificationActivities(Courier(Outbox(engine, KEYS), []))
    queue = PostingQueue(engine)
    hooks = WebhookActivities(queue, Postman(queue, KEYS, allow_loopback=True))
    return {
        "delivered": await _rounds(lambda: notifications_worker(client, news), lambda: ensure_delivery(client)),
        "posted": await _rounds(lambda: webhooks_worker(client, hooks), lambda: ensure_webhooks(client)),
        "told": await _told(running, client),
        "reconciled": await _reconciled(running, client),
    }


async def _rounds(
    working: Callable[[], Worker], ensure: Callable[[], Awaitable[WorkflowHandle[Any, Any]]]
) -> list[WorkflowHistory]:
    """Stop the worker when its activities are under way, which ends them, and go on with another one."""
    for _ in range(_ROUNDS):
        async with working():
            handle = await ensure()
            await soon(partial(_busy, handle))
    return [await handle.fetch_history()]


async def _busy(handle: WorkflowHandle[Any, Any]) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return bool(pending) and all(one.state == started for one in pending)


async def _told(running: Servers, client: Client) -> list[WorkflowHistory]:
    """A payout comes back after its escrow's end: judged, booked, and the escrow's workflow started again."""
    sandbox, scene = Sandbox(running.endpoints), Scene.of(running, Market(running.engine), client)
    escrow = await scene.at(State.MILESTONE_APPROVED)
    paid = await scene.until(escrow, lambda found: _all(found, PayoutStatus.PAID))
    await scene.do(Cancel, paid)
    await scene.completed(escrow)
    provider = gateway(running.endpoints)
    looking = GatewayEventActivities(GatewayEvents(running.engine), provider.records(), None)
    ledger = LedgerActivities(Books(running.engine), provider.name)
    async with gateway_events_worker(client, ledger, looking):
        handle = await ensure_gateway_events(client)
        back = sandbox.happen("reverse", key=f"{paid.payouts[0].id}:1")
        tell(running.engine, running.endpoints, *sandbox.events(back["id"]))
        await scene.until(escrow, lambda found: _all(found, PayoutStatus.RETURNED))
        await soon(partial(_busy, handle))
    return [await handle.fetch_history()]


async def _reconciled(running: Servers, client: Client) -> list[WorkflowHistory]:
    """A round over what the stories have left behind, as the schedule starts it."""
    provider = gateway(running.endpoints)
    standing = partial(Standing, client, running.engine)
    comparing = ReconciliationActivities(running.engine, provider.name, provider.statement(), standing, None)
    ledger = LedgerActivities(Books(running.engine), provider.name)
    daily = "reconciliation-daily"
    async with reconciliation_worker(client, ledger, comparing):
        await client.execute_workflow(
            DailyReconciliationWorkflow.run, id=daily, task_queue=timeouts.RECONCILIATION_TASK_QUEUE
        )
    return [await client.get_workflow_handle(one).fetch_history() for one in (daily, RECONCILIATION)]


def _all(escrow: Escrow, status: PayoutStatus) -> bool:
    return bool(escrow.payouts) and all(one.status == status for one in escrow.payouts)
