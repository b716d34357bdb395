"""Rounds of reconciliation (docs/reconciliation.md) at the end of the day, by the product itself."""

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, text
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from chaos import histories
from models.reconciliation import Reconciliation
from starter.embedded.stack import Endpoints
from workflows.reconcile import RECONCILIATION, ReconcileWorkflow
from workflows.timeouts import RECONCILIATION_TASK_QUEUE

_WITHIN: Final = timedelta(minutes=10)
_OPEN: Final = "SELECT cause || ', ' || says FROM difference WHERE status = 'open' ORDER BY since"


async def hold(endpoints: Endpoints) -> Reconciliation:
    """Have everything compared and healed as far as it is certain; answers what was found."""
    client = await histories.client_of(endpoints)
    return await client.execute_workflow(
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
