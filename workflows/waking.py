"""Having an escrow's workflow read what the books decided without it; one that is not there is started again."""

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from models import ids
    from models.escrow import Escrow
    from workflows.escrow import EscrowWorkflow
    from workflows.inputs import EscrowInput
    from workflows.timeouts import TASK_QUEUE
    from workflows.visibility import at_start, details, summary


async def tell(escrow: Escrow) -> None:
    """Have the escrow's workflow read what the books decided; one that is over starts again if anything is left."""
    identifier = ids.escrow_workflow(escrow.id)
    if await _told(identifier) or escrow.finished:
        return
    try:
        await workflow.start_child_workflow(
            EscrowWorkflow.run,
            EscrowInput(escrow=escrow.id, clock_offset=escrow.clock_offset),
            id=identifier,
            task_queue=TASK_QUEUE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=at_start(escrow),
            static_summary=summary(escrow),
            static_details=details(escrow),
        )
    except WorkflowAlreadyStartedError:
        await _told(identifier)  # somebody was faster, and may have read the books before us


async def _told(identifier: str) -> bool:
    try:
        await workflow.get_external_workflow_handle(identifier).signal(EscrowWorkflow.look_again)
    except FailureError:
        return False
    return True
