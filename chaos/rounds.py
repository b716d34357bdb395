"""Rounds of reconciliation (docs/reconciliation.md) in the day and at its end, by the product itself."""

from contextlib import suppress
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, text
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from chaos import histories
from models.reconciliation import Reconciliation
from starter.embedded.stack import Endpoints
from workflows.reconcile import RECONCILIATION, ReconcileWorkflow
from workflows.timeouts import RECONCILIATION_TASK_QUEUE

_WITHIN: Final = timedelta(minutes=10)
_OPEN: Final = "SELECT cause || ', ' || says FROM difference WHERE status = 'open' ORDER BY since"


async def hold(endpoints: Endpoints) -> Reconciliation:
    """Have everything compared and healed as far as it is certain; answers what was found.

    One that runs already may have compared before all was at rest: it is waited for, and is not the answer.
    """
    with suppress(RPCError, WorkflowFailureError):
        client = await histories.client_of(endpoints)
        await client.get_workflow_handle(RECONCILIATION).result()
    return await (await begin(endpoints)).result()


async def begin(endpoints: Endpoints) -> WorkflowHandle[ReconcileWorkflow, Reconciliation]:
    """Have a round begin, unless one runs."""
    client = await histories.client_of(endpoints)
    return await client.start_workflow(
        ReconcileWorkflow.run,
        id=RECONCILIATION,
        task_queue=RECONCILIATION_TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        execution_timeout=_WITHIN,
    )


def left(connection: Connection, last: Reconciliation) -> list[str]:
    """What the last round could not explain, in its own words."""
    unexplained = [f"{one.unexplained} {one.currency} unexplained: {one}" for one in last.balances if one.unexplained]
    return [*([last.failed] if last.failed else []), *connection.execute(text(_OPEN)).scalars(), *unexplained]
