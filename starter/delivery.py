"""Starting the workflows that tell the news, post webhooks and apply the gateway's events, one of each for all workers.

They are never over, so the first worker starts them.
"""

from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from workflows.deliver import DeliverWorkflow
from workflows.gateway_events import GatewayEventsWorkflow
from workflows.timeouts import GATEWAY_EVENTS_TASK_QUEUE, NOTIFICATIONS_TASK_QUEUE, WEBHOOKS_TASK_QUEUE
from workflows.webhooks import WebhooksWorkflow

DELIVERY: Final = "deliver"
WEBHOOKS: Final = "webhooks"
GATEWAY_EVENTS: Final = "gateway-events"
_ANSWERS_WITHIN: Final = timedelta(seconds=10)


class DeliveryUnavailableError(Exception):
    """Temporal did not start the delivery of news or webhooks; the message says why."""


async def ensure_delivery(client: Client) -> WorkflowHandle[DeliverWorkflow, None]:
    """Have news delivered in the client's namespace. Safe from several workers at once.

    One that was terminated starts anew: what is to be told is in the outbox. Raises ``DeliveryUnavailableError``.
    """
    try:
        return await client.start_workflow(
            DeliverWorkflow.run,
            id=DELIVERY,
            task_queue=NOTIFICATIONS_TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="tells buyers, sellers and operators what happens",
            rpc_timeout=_ANSWERS_WITHIN,
        )
    except RPCError as error:
        raise DeliveryUnavailableError(
            f"the delivery of news cannot be started in the Temporal namespace {client.namespace}: "
            f"{error.status.name}: {error.message}"
        ) from error


async def ensure_webhooks(client: Client) -> WorkflowHandle[WebhooksWorkflow, None]:
    """Have webhooks posted in the client's namespace, as ``ensure_delivery`` does for news; the same holds for it."""
    try:
        return await client.start_workflow(
            WebhooksWorkflow.run,
            id=WEBHOOKS,
            task_queue=WEBHOOKS_TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="posts events to the endpoints of tenants",
            rpc_timeout=_ANSWERS_WITHIN,
        )
    except RPCError as error:
        raise DeliveryUnavailableError(
            f"the posting of webhooks cannot be started in the Temporal namespace {client.namespace}: "
            f"{error.status.name}: {error.message}"
        ) from error


async def ensure_gateway_events(client: Client) -> WorkflowHandle[GatewayEventsWorkflow, None]:
    """Have what the gateway tells applied in the client's namespace; the same holds for it."""
    try:
        return await client.start_workflow(
            GatewayEventsWorkflow.run,
            id=GATEWAY_EVENTS,
            task_queue=GATEWAY_EVENTS_TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="applies what the payment provider tells by itself",
            rpc_timeout=_ANSWERS_WITHIN,
        )
    except RPCError as error:
        raise DeliveryUnavailableError(
            f"applying the gateway's events cannot be started in the Temporal namespace {client.namespace}: "
            f"{error.status.name}: {error.message}"
        ) from error
