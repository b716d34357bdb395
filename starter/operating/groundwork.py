"""What has to be in a Temporal namespace before escrows can be looked after: the namespace itself with our search
attributes, the workflows that are never over, and the schedules. Its data may be new and empty.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Engine, text
from temporalio.api.enums.v1 import TaskQueueType, WorkerVersioningMode
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from settings import Settings
from starter.delivery import (
    DELIVERY,
    GATEWAY_EVENTS,
    WEBHOOKS,
    DeliveryUnavailableError,
    ensure_delivery,
    ensure_gateway_events,
    ensure_webhooks,
)
from starter.embedded.child import StackError
from starter.schedules import (
    DAILY_RECONCILIATION,
    EXCHANGE_RATES,
    SchedulesUnavailableError,
    ensure_reconciliation,
    ensure_schedules,
)
from workflows.timeouts import TASK_QUEUE
from workflows.visibility import SEARCH_ATTRIBUTES

_LASTING: Final[dict[str, Callable[[Client], Awaitable[Any]]]] = {
    DELIVERY: ensure_delivery,
    WEBHOOKS: ensure_webhooks,
    GATEWAY_EVENTS: ensure_gateway_events,
}
_LOOK_EVERY: Final = timedelta(minutes=1)
_ANSWERS_WITHIN: Final = timedelta(seconds=10)
# Temporal forgets who asked for work after five minutes; a worker that is alive asks at least once in one.
_LISTENED_WITHIN: Final = timedelta(minutes=2)
_VERSIONED: Final = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
_FETCHED: Final = "SELECT EXISTS (SELECT FROM exchange_rate WHERE tenant_id IS NULL)"

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ground:
    """What was not there beside the escrows, and is now. ``kind`` is workflow or schedule."""

    kind: str
    name: str


async def check_namespace(client: Client) -> None:
    """Raises ``StackError``, which says what to do, where no workflow of ours could start."""
    namespace = client.namespace
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=namespace), timeout=_ANSWERS_WITHIN
        )
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        raise StackError(
            f"Temporal has no namespace {namespace}. Make it, with a retention, and our search attributes in it: "
            f"`temporal operator namespace create --namespace {namespace} --retention 30d`, then as "
            "docs/architecture.md says under 'Servers of your own'. Then repair again."
        ) from error
    missing = SEARCH_ATTRIBUTES.keys() - await _known_attributes(client)
    if missing:
        commands = "\n".join(
            f"  temporal operator search-attribute create --namespace {namespace} --name {name} --type {kind}"
            for name, kind in SEARCH_ATTRIBUTES.items()
            if name in missing
        )
        raise StackError(
            f"The Temporal namespace {namespace} lacks search attributes without which no escrow's workflow starts. "
            f"Make them, then repair again:\n{commands}"
        )


async def _known_attributes(client: Client) -> set[str]:
    """All of ours where nobody may ask, as in Temporal Cloud: starting a workflow will tell."""
    asked = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        known = await client.operator_service.list_search_attributes(asked, timeout=_ANSWERS_WITHIN)
    except RPCError as error:
        if error.status in {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED}:
            return set(SEARCH_ATTRIBUTES)
        raise
    return set(known.custom_attributes)


async def missing_ground(client: Client, config: Settings) -> list[Ground]:
    """What workers make, and is not there."""
    workflows = [Ground("workflow", name) for name in _LASTING if not await _runs(client, name)]
    schedules = [Ground("schedule", name) for name in _scheduled(config) if not await _is_scheduled(client, name)]
    return workflows + schedules


async def lay(client: Client, config: Settings, missing: list[Ground]) -> None:
    """Have it there again. Raises ``StackError``."""
    try:
        for one in missing:
            if one.kind == "workflow":
                await _LASTING[one.name](client)
        if any(one.kind == "schedule" for one in missing):
            await ensure_schedules(client, config)
            await ensure_reconciliation(client)
    except (DeliveryUnavailableError, SchedulesUnavailableError) as error:
        raise StackError(str(error)) from error


async def keep(client: Client, config: Settings, every: timedelta = _LOOK_EVERY) -> None:
    """What a worker has there when it starts it has there again after Temporal lost it, until cancelled.

    Logs what had to be started again, and, once for each outage, that it cannot be seen to.
    """
    away = False
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            missing = await missing_ground(client, config)
            await lay(client, config, missing)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go better
            if not away:
                _log.warning("what runs for ever cannot be looked after now", why=str(error))
            away = True
            continue
        away = False
        if missing:
            _log.warning("started again what Temporal had lost", names=[one.name for one in missing])


async def remarks(client: Client, engine: Engine, config: Settings) -> list[str]:
    """What a person has to see to, since no repair does."""
    idle = await _why_nobody_works(client)
    said = [idle] if idle else []
    if not config.rates_source and _rates_were_fetched(engine) and not await _is_scheduled(client, EXCHANGE_RATES):
        said.append(
            f"The schedule {EXCHANGE_RATES} is not there, and these settings name no source of rates. A worker whose "
            "settings do brings it back within a minute; so does a repair with its HOLDFAST_RATES_SOURCE."
        )
    return said


def _scheduled(config: Settings) -> list[str]:
    return [DAILY_RECONCILIATION, *([EXCHANGE_RATES] if config.rates_source else [])]


def _rates_were_fetched(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.execute(text(_FETCHED)).scalar())


async def _runs(client: Client, workflow: str) -> bool:
    try:
        found = await client.get_workflow_handle(workflow).describe(rpc_timeout=_ANSWERS_WITHIN)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return found.status in {WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW}


async def _is_scheduled(client: Client, name: str) -> bool:
    try:
        await client.get_schedule_handle(name).describe(rpc_timeout=_ANSWERS_WITHIN)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _why_nobody_works(client: Client) -> str | None:
    """What keeps what was started from being done; None if a worker does it."""
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        ),
        timeout=_ANSWERS_WITHIN,
    )
    now = datetime.now(UTC)
    asking = [one for one in answer.pollers if now - one.last_access_time.ToDatetime(UTC) < _LISTENED_WITHIN]
    if not asking:
        return f"No worker asks for work on the task queue {TASK_QUEUE}: start one."
    versioned = {one.deployment_options.worker_versioning_mode for one in asking} == {_VERSIONED}
    if versioned and not answer.versioning_info.current_deployment_version.build_id:
        return "All workers are of builds, and Temporal knows none of them as current: docs/upgrades.md says how to."
    return None
