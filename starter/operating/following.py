"""A round of reconciliation, from outside: starting or finding it, and telling what it does and what it waits for."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import FailureError
from temporalio.service import RPCError

from ledger import reconciliation
from models.reconciliation import Reconciliation
from starter.arrival import OutcomeUnknownError
from starter.embedded.child import StackError
from starter.invocation import suggested
from starter.progress import Progress
from starter.reports.visible import visible
from starter.sender import Sender
from workflows.reconcile import RECONCILIATION, ReconcileWorkflow
from workflows.timeouts import RECONCILIATION_TASK_QUEUE, RECONCILIATION_WITHIN

_LOOK_AGAIN_SECONDS: Final = 0.5
_TAKEN_SECONDS: Final = 10.0
_NO_SIGN_SECONDS: Final = 120.0
_ANSWERS_WITHIN: Final = timedelta(seconds=5)
_METADATA: Final = "__temporal_workflow_metadata"
_READING: Final = "read_statement"
_REASON: Final = 160  # characters of a failure, on a line of which more is said

Handle = WorkflowHandle[ReconcileWorkflow, Reconciliation]


async def follow(client: Client, sender: Sender, engine: Engine, progress: Progress) -> Reconciliation:
    """Start a round unless one runs, and follow it to its end; answers what it came to.

    Raises ``StackError`` where it could not be finished, ``OutcomeUnknownError`` once nothing stirs for too long.
    """
    handle: Handle = await sender.patiently(
        "reconcile",
        lambda: client.start_workflow(
            ReconcileWorkflow.run,
            id=RECONCILIATION,
            task_queue=RECONCILIATION_TASK_QUEUE,
            execution_timeout=RECONCILIATION_WITHIN,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="reconciliation, asked for by hand",
        ),
    )
    watching = asyncio.create_task(_watch(client, handle, engine, progress))
    result = asyncio.create_task(handle.result())
    try:
        await asyncio.wait((watching, result), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            await watching  # it raises
        return await result
    except WorkflowFailureError as error:
        raise StackError(f"The round could not be finished: {visible(str(error.cause))}") from error
    except RPCError as error:
        raise OutcomeUnknownError(f"reconcile: {error}") from error
    finally:
        watching.cancel()
        result.cancel()


async def waits_for(client: Client, provider: str) -> str | None:
    """What keeps the round that runs, in words; None where nothing does or where Temporal does not say."""
    with suppress(RPCError):
        described = await client.get_workflow_handle(RECONCILIATION).describe(rpc_timeout=_ANSWERS_WITHIN)
        return await _trouble(client, described.raw_description, provider)
    return None


async def _watch(client: Client, handle: Handle, engine: Engine, progress: Progress) -> None:
    """Tell what the round does; raises ``OutcomeUnknownError`` once nothing has stirred for too long."""
    loop = asyncio.get_running_loop()
    last, seen, said = loop.time(), (0, b""), ""
    while True:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        what = None
        with suppress(RPCError):
            found = (await handle.describe()).raw_description
            now = _signs_of_life(found)
            if now != seen or now[0] > 1:
                last, seen = loop.time(), now
            if now[0] > 1:
                why = await _trouble(client, found, _provider(engine))
                what = f"{why}; Ctrl-C leaves the round running" if why else said
            elif loop.time() - last > _TAKEN_SECONDS and not _is_worked_at(found):
                what = f"No worker has taken it yet: is one running? `{suggested('worker')}` starts one."
        if what is None:
            with suppress(RPCError, WorkflowQueryFailedError):
                what = await _details(handle)
        if what and what != said:
            said = what
            progress.doing(what)
        if loop.time() - last > _NO_SIGN_SECONDS:
            raise OutcomeUnknownError("nothing works at the round")


def _signs_of_life(found: DescribeWorkflowExecutionResponse) -> tuple[int, bytes]:
    """The most attempts at an activity: after the first it is tried again for as long as the workflow says. And what
    changes whenever anybody works at the round: its history, and what its activities report.
    """
    reports = b"".join(one.SerializeToString() for one in found.pending_activities)
    events = found.workflow_execution_info.history_length
    return max((one.attempt for one in found.pending_activities), default=0), b"%d %b" % (events, reports)


def _is_worked_at(found: DescribeWorkflowExecutionResponse) -> bool:
    return any(map(_is_tried, found.pending_activities))


def _is_tried(one: PendingActivityInfo) -> bool:
    return one.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED


async def _trouble(client: Client, found: DescribeWorkflowExecutionResponse, provider: str) -> str | None:
    """Why an activity failed, and when it is tried again; None where none failed, or where it is being tried."""
    for one in found.pending_activities:
        if one.attempt > 1 and one.HasField("last_failure") and not _is_tried(one):
            failure = await client.data_converter.decode_failure(one.last_failure)
            why = failure.message if isinstance(failure, FailureError) else str(failure)
            name = one.activity_type.name
            kind = one.last_failure.application_failure_info.type
            who = f"{provider} does not answer" if kind == "GatewayUnavailableError" else f"{name} fails"
            if name == _READING and kind == "GatewayMisconfiguredError":
                who = f"{provider} refuses to answer"
            seconds = max(1, one.current_retry_interval.seconds)
            return f"{who} (attempt {one.attempt - 1}: {visible(why)[:_REASON]}); asked again in about {seconds} s"
    return None


def _provider(engine: Engine) -> str:
    """Whose statement the round reads; the books may be away at that moment."""
    with suppress(Exception):
        return reconciliation.rounds(engine, 1)[0].provider
    return "the provider"


async def _details(handle: Handle) -> str:
    """What the workflow says that it does."""
    found: WorkflowMetadata = await handle.query(_METADATA, result_type=WorkflowMetadata, rpc_timeout=_ANSWERS_WITHIN)
    return found.current_details.strip().rpartition("\n")[2].removeprefix("- ")
