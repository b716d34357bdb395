"""The yardstick of a life: a workflow that takes as many updates, of the same commands, and does nothing."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.commands import AnyCommand
    from workflows.inputs import EscrowInput

TASK_QUEUE = "benchmark-nothing"
UPDATES = 9


@workflow.defn(name="NothingWorkflow")
class NothingWorkflow:
    """Ends with its last update."""

    def __init__(self) -> None:
        self._left = UPDATES

    @workflow.run
    async def run(self, start: EscrowInput) -> str:
        """Wait for the last update."""
        await workflow.wait_condition(lambda: not self._left)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return start.escrow

    @workflow.update
    async def nothing(self, command: AnyCommand) -> None:  # noqa: ARG002 - decoded like any command, then forgotten
        """Take a command and do nothing."""
        self._left -= 1
