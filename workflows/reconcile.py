"""A round of reconciliation: the books with the workflows, with themselves, with the provider (docs/reconciliation.md).

What is certain is healed, by starting workflows again and by looking into what the provider knows better; then it is
compared once more. Nothing is booked here. Histories stay small: counts and ids, never rows.
"""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Final, TypeVar

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.reconciliation import ReconciliationActivities
    from models import ids
    from models.charges import ChargeOrder
    from models.reconciliation import Agreement, Finished, Reading, Reconciliation, Strays
    from workflows.charge import ChargeWorkflow
    from workflows.commit import read
    from workflows.timeouts import (
        BOOKS_UNTIL_BACK,
        RECONCILIATION_COMPARE,
        RECONCILIATION_HEALS_LOOK,
        RECONCILIATION_HEALS_WITHIN,
        RECONCILIATION_HEARTBEAT,
        RECONCILIATION_PROVIDER_AWAY,
        RECONCILIATION_READ,
        RECONCILIATION_RETRY,
        RECONCILIATION_SHORT,
        RECONCILIATION_TRIES,
        RECONCILIATION_WITHIN,
        TASK_QUEUE,
    )
    from workflows.waking import tell

Answer = TypeVar("Answer")
Told = TypeVar("Told", Agreement, Reading, Strays)

RECONCILIATION: Final = "reconciliation"
"""The id under which a round runs: two at once cannot be."""
_MOST_FAILURES: Final = 5
# What the second comparison reads again, so that a line that took its time is not missed.
_ONCE_MORE: Final = timedelta(minutes=10)


@workflow.defn(name="DailyReconciliationWorkflow")
class DailyReconciliationWorkflow:
    """What the schedule starts, under an id of each day: a round, unless one is running."""

    @workflow.run
    async def run(self) -> None:
        """Have a round run, and wait for its end."""
        try:
            await workflow.execute_child_workflow(
                ReconcileWorkflow.run,
                id=RECONCILIATION,
                parent_close_policy=ParentClosePolicy.ABANDON,
                execution_timeout=RECONCILIATION_WITHIN,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary="reconciliation, as every day",
            )
        except WorkflowAlreadyStartedError:
            workflow.set_current_details("a round was running already")


@workflow.defn(name="ReconcileWorkflow")
class ReconcileWorkflow:
    """One round. A part that cannot be done is told in the result and keeps no other from being done."""

    def __init__(self) -> None:
        self._round = ""
        self._said: list[str] = []
        self._failed: list[str] = []
        self._strays = Strays()
        self._agreement = Agreement()

    @workflow.run
    async def run(self) -> Reconciliation:
        """Compare, heal what is certain, compare that again; answers what the round came to."""
        info = workflow.info()
        self._round = round_ = ids.derive("rec", info.start_time, info.run_id)
        self._doing("writing down that a round begins")
        reading = self._own(
            await workflow.execute_activity_method(
                ReconciliationActivities.begin_round,
                round_,
                start_to_close_timeout=RECONCILIATION_SHORT,
                retry_policy=BOOKS_UNTIL_BACK,
                summary="begin",
            )
        )
        await self._part("workflows", self._with_workflows())
        await self._part("books", self._with_themselves())
        whole = await self._part("provider", self._with_provider(reading))
        started = await self._started()
        asked = await self._part("healing", self._looked_into()) or 0
        if started or asked:
            await self._healed(round_)
            await self._part("workflows", self._with_workflows())
            if whole:
                await self._part("provider", self._with_provider(_what_is_new(whole)))
        return await self._finished(
            Finished(
                round=round_,
                read_up_to=whole.read_up_to if whole else None,
                failed="; ".join(self._failed) or None,
                agreement=self._agreement,
                escrows=self._strays.escrows,
                asked=asked,
                started=started,
            )
        )

    # The parts ----------------------------------------------------------------------------------------------------

    async def _with_workflows(self) -> None:
        self._doing("comparing the books with the workflows")
        self._strays = self._own(
            await workflow.execute_activity_method(
                ReconciliationActivities.compare_with_workflows,
                self._round,
                start_to_close_timeout=RECONCILIATION_COMPARE,
                heartbeat_timeout=RECONCILIATION_HEARTBEAT,
                retry_policy=RECONCILIATION_TRIES,
                summary="the books with the workflows",
            )
        )
        self._did(f"workflows: {self._strays.escrows} escrows looked at, {self._strays.found} not looked after")

    async def _with_themselves(self) -> None:
        self._doing("checking the books")
        unsound = await workflow.execute_activity_method(
            ReconciliationActivities.compare_with_themselves,
            start_to_close_timeout=RECONCILIATION_COMPARE,
            heartbeat_timeout=RECONCILIATION_HEARTBEAT,
            retry_policy=RECONCILIATION_TRIES,
            summary="the books with themselves",
        )
        self._did(f"books: {unsound} contradictions")

    async def _with_provider(self, reading: Reading) -> Reading:
        """Compare with a statement that is read to its end, and answer it. A provider that is away is waited for."""
        while not reading.done:
            why = ", from the beginning since its lines do not make up its balance" if reading.in_full else ""
            self._doing(f"reading what the provider moved{why}, {reading.pages} pages so far")
            reading = self._own(
                await workflow.execute_activity_method(
                    ReconciliationActivities.read_statement,
                    reading,
                    start_to_close_timeout=RECONCILIATION_READ,
                    schedule_to_close_timeout=RECONCILIATION_PROVIDER_AWAY,
                    heartbeat_timeout=RECONCILIATION_HEARTBEAT,
                    retry_policy=RECONCILIATION_RETRY,
                    summary="read what the provider moved",
                )
            )
        self._doing("comparing the books with the provider's")
        self._agreement = self._own(
            await workflow.execute_activity_method(
                ReconciliationActivities.compare_with_provider,
                reading,
                start_to_close_timeout=RECONCILIATION_COMPARE,
                heartbeat_timeout=RECONCILIATION_HEARTBEAT,
                retry_policy=RECONCILIATION_TRIES,
                summary="the books with the provider's",
            )
        )
        self._did(f"provider: {self._agreement.lines} lines, {self._agreement.matched} of ours matched")
        return reading

    # Healing ------------------------------------------------------------------------------------------------------

    async def _started(self) -> int:
        """Give those a workflow that have none, and have the others read the books; answers how many those were."""
        started = 0
        for number, identifier in enumerate(self._strays.asleep, 1):
            self._doing(f"starting workflows again, {number} of {len(self._strays.asleep)}")
            started += bool(await self._part("starting", _woken(identifier)))
        for order in self._strays.charges:
            started += bool(await self._part("starting", _asked_again(order)))
        return started

    async def _looked_into(self) -> int:
        self._doing("having looked into what the provider knows better")
        return await workflow.execute_activity_method(
            ReconciliationActivities.look_into,
            start_to_close_timeout=RECONCILIATION_COMPARE,
            heartbeat_timeout=RECONCILIATION_HEARTBEAT,
            retry_policy=RECONCILIATION_TRIES,
            summary="look into what differs",
        )

    async def _healed(self, round_: str) -> None:
        """Wait until what was set going is done, but not for long: what takes its time shows in the next round."""
        self._doing("waiting for what was set right")
        until = workflow.now() + RECONCILIATION_HEALS_WITHIN
        while workflow.now() < until:
            await workflow.sleep(RECONCILIATION_HEALS_LOOK)
            left = await workflow.execute_activity_method(
                ReconciliationActivities.being_looked_into,
                round_,
                start_to_close_timeout=RECONCILIATION_SHORT,
                retry_policy=BOOKS_UNTIL_BACK,
                summary="is it done?",
            )
            if not left:
                return

    async def _finished(self, done: Finished) -> Reconciliation:
        result = await workflow.execute_activity_method(
            ReconciliationActivities.finish_round,
            done,
            start_to_close_timeout=RECONCILIATION_SHORT,
            retry_policy=BOOKS_UNTIL_BACK,
            summary="finish",
        )
        if result.id != self._round:
            raise _another()
        open_ = sum(result.found.values())
        self._did(f"finished: {open_} differences open, {result.healed} healed in this round")
        return result

    def _own(self, result: Told) -> Told:
        """What was told, if it was for this round: results of an earlier one say nothing, wherever they come from."""
        if result.round != self._round:
            raise _another()
        return result

    # What operators see -------------------------------------------------------------------------------------------

    async def _part(self, name: str, work: Awaitable[Answer]) -> Answer | None:
        """Do one part; one that fails is told, and None is the answer."""
        try:
            return await work
        except FailureError as error:
            if len(self._failed) < _MOST_FAILURES:
                self._failed.append(f"{name}: {_why(error)}")
            self._did(f"**{name}**: {_why(error)}")
            return None

    def _doing(self, what: str) -> None:
        workflow.set_current_details("\n".join([*(f"- {line}" for line in self._said), f"- {what} …"]))

    def _did(self, what: str) -> None:
        self._said.append(what)
        workflow.set_current_details("\n".join(f"- {line}" for line in self._said))


async def _woken(identifier: str) -> bool:
    """Have an escrow's workflow read the books, and start it if it is not there."""
    escrow = await read(identifier)
    if escrow is not None:
        await tell(escrow)
    return escrow is not None


async def _asked_again(order: ChargeOrder) -> bool:
    """Start the workflow of a charge that nobody asks about. Harmless: the charge's id is the provider's key."""
    try:
        await workflow.start_child_workflow(
            ChargeWorkflow.run,
            order,
            id=ids.charge_workflow(order.id),
            task_queue=TASK_QUEUE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary="asked about again by reconciliation",
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def _what_is_new(read_before: Reading) -> Reading:
    """The statement since shortly before it was read."""
    up_to = read_before.read_up_to
    return Reading(
        round=read_before.round,
        provider=read_before.provider,
        since=up_to - _ONCE_MORE if up_to else read_before.since,
        in_full=read_before.in_full or read_before.since is None,
    )


def _another() -> ApplicationError:
    return ApplicationError("the result of another round was told", type="AnotherRound", non_retryable=True)


def _why(error: BaseException) -> str:
    """The innermost reason, which is what an activity said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)[:300]
