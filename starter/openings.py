"""How the workflow of an escrow is started: with the command that makes the escrow, or again from the books; and that
of a charge, for the first time or again.
"""

from typing import Any

from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from models import ids
from models.charges import ChargeOrder
from models.commands import Create
from models.escrow import Escrow
from models.money import Money
from workflows import visibility
from workflows.escrow import EscrowWorkflow
from workflows.inputs import EscrowInput
from workflows.timeouts import TASK_QUEUE


def anew(command: Create) -> WithStartWorkflowOperation[EscrowWorkflow, str]:
    """For an escrow that the command makes; an id that ever had a workflow gets no other this way."""
    return WithStartWorkflowOperation(
        EscrowWorkflow.run,
        EscrowInput(escrow=command.escrow),
        id=ids.escrow_workflow(command.escrow),
        task_queue=TASK_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=visibility.at_start(command),
        static_summary=visibility.summary(command),
        static_details=visibility.details(command),
    )


def from_books(escrow: Escrow) -> dict[str, Any]:
    """For an escrow that is there already: the arguments of the client's ways to start ``EscrowWorkflow.run``."""
    return {
        "arg": EscrowInput(escrow=escrow.id, clock_offset=escrow.clock_offset),
        "id": ids.escrow_workflow(escrow.id),
        "task_queue": TASK_QUEUE,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "search_attributes": visibility.at_start(escrow),
        "static_summary": visibility.summary(escrow),
        "static_details": visibility.details(escrow),
    }


def charging(order: ChargeOrder) -> dict[str, Any]:
    """For a charge, sealed: the arguments of the client's ways to start ``ChargeWorkflow.run``."""
    return {
        "arg": order,
        "id": ids.charge_workflow(order.id),
        "task_queue": TASK_QUEUE,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "static_summary": f"{Money(order.amount, order.currency)} from {order.party}",
    }
