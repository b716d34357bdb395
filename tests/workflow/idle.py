"""What must not be: an escrow's workflow that cannot go on, or that does nothing, and a payout's that gives up."""

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError


@workflow.defn(name="EscrowWorkflow")
class IdleEscrow:
    """Fails its task for ever where the clock is ahead, as code does that does not fit its history; or only waits."""

    @workflow.run
    async def run(self, start: dict[str, Any]) -> None:
        """Never ends."""
        if start.get("clock_offset"):
            raise RuntimeError("a mistake of ours")
        await workflow.wait_condition(lambda: False)


@workflow.defn(name="PayoutWorkflow")
class FailingPayout:
    """Gives up at once."""

    @workflow.run
    async def run(self) -> None:
        """Fails for good."""
        raise ApplicationError("the books refuse it", non_retryable=True)
