"""Starting the workflows that tell the news, post webhooks and apply the gateway's events, one of each for all workers.

They are never over, so the first worker starts them.
"""

from datetime import timedelta
from typing import Final, TypeVar

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError
from temporalio.types import MethodAsyncNoParam

from workflows.deliver import DeliverWorkflow
from workflows.gateway_events import GatewayEventsWorkflow
from workflows.timeouts import GATEWAY_EVENTS_TASK_QUEUE, NOTIFICATIONS_TASK_QUEUE, WEBHOOKS_TASK_QUEUE
from workflows.webhooks import WebhooksWorkflow

Lasting = TypeVar("Lasting")

DELIVERY: Final = "deliver"
WEBHOOKS: Final = "webhooks"
GATEWAY_EVENTS: Final = "gateway-events"
_ANSWERS_WITHIN: Final = timedelta(seconds=10)


class DeliveryUnavailableError(Exception):
    """Temporal did not start one of them; the message says which, and why."""


async def ensure_delivery(client: Client) -> WorkflowHandle[DeliverWorkflow, None]:
    """Have news delivered in the client's namespace. Safe from several workers at once.

    One that was terminated starts anew: what is to be told is in the outbox. Raises ``DeliveryUnavailableError``.
    """
    does = "tells buyers, sellers and operators what happens"
    return await _ensure(client, DeliverWorkflow.run, DELIVERY, NOTIFICATIONS_TASK_QUEUE, does)


async def ensure_webhooks(client: Client) -> WorkflowHandle[WebhooksWorkflow, None]:
    """Have webhooks posted in the client's namespace, as ``ensure_delivery`` does for news; the same holds for it."""
    does = "posts events to the endpoints of tenants"
    return await _ensure(client, WebhooksWorkflow.run, WEBHOOKS, WEBHOOKS_TASK_QUEUE, does)


async def ensure_gateway_events(client: Client) -> WorkflowHandle[GatewayEventsWorkflow, None]:
    """Have what the gateway tells applied in the client's namespace; the same holds for it."""
    does = "applies what the payment provider tells by itself"
    return await _ensure(client, GatewayEventsWorkflow.run, GATEWAY_EVENTS, GATEWAY_EVENTS_TASK_QUEUE, does)


async def _ensure(
    client: Client, run: MethodAsyncNoParam[Lasting, None], name: str, task_queue: str, does: str
) -> WorkflowHandle[Lasting, None]:
    try:
        return await client.start_workflow(
            run,
            id=name,
            task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=does,
            rpc_timeout=_ANSWERS_WITHIN,
        )
    except RPCError as error:
        raise DeliveryUnavailableError(
            f"the workflow {name}, which {does}, cannot be started in the Temporal namespace {client.namespace}: "
            f"{error.status.name}: {error.message}"
        ) from error
