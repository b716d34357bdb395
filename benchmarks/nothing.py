"""The yardstick of a life: a workflow that takes the same updates and does nothing, in a worker with our settings."""

import asyncio
import signal

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, Worker

with workflow.unsafe.imports_passed_through():
    from models.commands import AnyCommand
    from workflows.inputs import EscrowInput

TASK_QUEUE = "benchmark-nothing"


@workflow.defn(name="NothingWorkflow")
class NothingWorkflow:
    """Ends with the ninth update."""

    def __init__(self) -> None:
        self._left = 9

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


async def _serve() -> None:
    # Here and not above: the workflow sandbox imports this file, and the composition root has no place in it.
    from worker import GRACE, READY, temporal_client  # noqa: PLC0415

    client: Client = await temporal_client()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[NothingWorkflow],
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        max_cached_workflows=500,
        graceful_shutdown_timeout=GRACE,
    ):
        print(READY, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
