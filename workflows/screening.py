"""Screening a party: a provider is asked, the answer recorded, and money that may go now is not kept for a day.

Source: domain.md, section 12. What the answer may change, and what not, is ``models.screening.block_after``.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.screening import ScreeningActivities
    from models import ids
    from models.screening import HeldPayout, LiftedPage, ScreeningResult, ScreenParty
    from workflows.timeouts import (
        SCREENING_BOOKS_RETRY,
        SCREENING_RETRY,
        SCREENING_START_TO_CLOSE,
        SCREENING_TASK_QUEUE,
    )


@workflow.defn(name="ScreenPartyWorkflow")
class ScreenPartyWorkflow:
    """One at a time per party. Who asks while one is under way gets another after it: it may have read too early."""

    @workflow.init
    def __init__(self, party: ScreenParty) -> None:
        self._party = party
        self._asked = 0
        self._rounds = 0

    @workflow.run
    async def run(self, party: ScreenParty) -> ScreeningResult:  # noqa: ARG002 - ``__init__`` has read it
        """Screen until nobody waits for another one; answers what the party then is.

        Fails with the message of the provider when only a person can help, and with ``not_found`` without a tenant.
        """
        while True:
            asked = self._asked
            result = await self._screen()
            if asked == self._asked:
                return result

    @workflow.signal
    def ask(self) -> None:
        """Screen the party as it is from now on. Sent with the start."""
        self._asked += 1

    async def _screen(self) -> ScreeningResult:
        self._rounds += 1
        workflow.set_current_details("waiting for the screening provider")
        try:
            result = await workflow.execute_activity_method(
                ScreeningActivities.screen,
                self._party,
                task_queue=SCREENING_TASK_QUEUE,
                start_to_close_timeout=SCREENING_START_TO_CLOSE,
                retry_policy=SCREENING_RETRY,
                summary=f"screen {self._party.party}",
            )
            result = result.model_copy(update={"told": await self._tell()})
        except ActivityError as error:
            if isinstance(error.cause, ApplicationError):
                raise error.cause from None  # the failure itself, so that who waits reads why
            raise
        workflow.set_current_details(str(result))
        return result

    async def _tell(self) -> int:
        """Ask for every payout whose hold has lost its reason; answers how many. They look by themselves in a day."""
        told, page = 0, self._page()
        while held := await self._lifted(page):
            told += sum(await asyncio.gather(*(self._request(one) for one in held)))
            page = page.model_copy(update={"after": held[-1].payout})
        return told

    def _page(self) -> LiftedPage:
        request = f"screened:{workflow.info().run_id}:{self._rounds}"
        return LiftedPage(tenant=self._party.tenant, party=self._party.party, request=request)

    async def _lifted(self, page: LiftedPage) -> list[HeldPayout]:
        return await workflow.execute_activity_method(
            ScreeningActivities.lifted,
            page,
            task_queue=SCREENING_TASK_QUEUE,
            start_to_close_timeout=SCREENING_START_TO_CLOSE,
            retry_policy=SCREENING_BOOKS_RETRY,
            summary="which payouts may go now?",
        )

    async def _request(self, held: HeldPayout) -> bool:
        command = held.request(self._page())
        escrow = workflow.get_external_workflow_handle(ids.escrow_workflow(held.escrow))
        try:
            await escrow.signal(command.name, command)
        except FailureError as error:
            workflow.logger.warning("%s was not told of its payout: %s", held.escrow, error)
            return False
        return True
