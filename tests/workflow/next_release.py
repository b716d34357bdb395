"""The release after this one, for ``test_upgrades``: escrows and payouts read the books before they do anything else.

Patched as such a change has to be, and carelessly as it must not be.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.ledger import LedgerActivities
    from models.escrow import Escrow
    from workflows import timeouts
    from workflows.escrow import EscrowWorkflow
    from workflows.inputs import EscrowInput, PayoutInput
    from workflows.payout import PayoutWorkflow

CHANGE = "look-first"


async def look(escrow: str) -> None:
    """Read an escrow in the books, for nothing."""
    limit, retry = timeouts.BOOKS_START_TO_CLOSE, timeouts.BOOKS_UNTIL_BACK
    method = LedgerActivities.read_escrow
    await workflow.execute_activity_method(method, escrow, start_to_close_timeout=limit, retry_policy=retry)


@workflow.defn(name="EscrowWorkflow")
class PatchedEscrow(EscrowWorkflow):
    """Reads the books once more, in escrows that begin with this release."""

    @workflow.init
    def __init__(self, start: EscrowInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: EscrowInput) -> str:
        """What it did, after a look into the books."""
        if workflow.patched(CHANGE):
            await look(start.escrow)
        return await super().run(start)


@workflow.defn(name="PayoutWorkflow")
class PatchedPayout(PayoutWorkflow):
    """Reads the books once more, in payouts that begin with this release."""

    @workflow.run
    async def run(self, start: PayoutInput) -> Escrow:
        """What it did, after a look into the books."""
        if workflow.patched(CHANGE):
            await look(start.escrow)
        return await super().run(start)


@workflow.defn(name="EscrowWorkflow")
class CarelessEscrow(EscrowWorkflow):
    """The same change in all escrows, whatever they have done before."""

    @workflow.init
    def __init__(self, start: EscrowInput) -> None:
        super().__init__(start)

    @workflow.run
    async def run(self, start: EscrowInput) -> str:
        """What it did, after a look into the books that no history knows of."""
        await look(start.escrow)
        return await super().run(start)


@workflow.defn(name="PayoutWorkflow")
class CarelessPayout(PayoutWorkflow):
    """The same change in all payouts, whatever they have done before."""

    @workflow.run
    async def run(self, start: PayoutInput) -> Escrow:
        """What it did, after a look into the books that no history knows of."""
        await look(start.escrow)
        return await super().run(start)
