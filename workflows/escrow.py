"""The escrow's workflow: alive as long as the escrow is, it takes commands one at a time and keeps the next deadline.

PostgreSQL is the truth. This holds the last snapshot and nothing else, and can be rebuilt from there at any time.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError, FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

# Modules of this folder by their own names: "from workflows import x" would load x anew for every escrow.
with workflow.unsafe.imports_passed_through():
    from models import deadlines, ids
    from models.charges import AmountDue, charge_order
    from models.commands import Command, Create, Fund, RequestPayout
    from models.decide import PLATFORM_COMMANDS, Row, refuse_early
    from models.errors import ErrorCode, Refusal
    from models.escrow import Deadline, Escrow, Payout
    from models.outcome import Outcome
    from workflows.charge import ChargeWorkflow
    from workflows.commit import amount_due, commit, read, refused
    from workflows.inputs import ClockAdvance, EscrowInput, PayoutInput
    from workflows.payout import PayoutWorkflow
    from workflows.timeouts import FOLLOW_AT_LEAST_EVERY, FOLLOW_EVERY, WAIT_FOR_CREATE
    from workflows.visibility import NEEDS_ATTENTION, changed_attributes, current_details, payout_summary, timer_summary

_COMMANDS = {row.name: row.command for row in PLATFORM_COMMANDS}


def takes_commands(workflow_class: type["EscrowWorkflow"]) -> type["EscrowWorkflow"]:
    """Give the workflow a typed update, with its validator, for every row of the command table."""
    for row in PLATFORM_COMMANDS:
        setattr(workflow_class, row.name, _update(row))
    return workflow_class


def _update(row: Row) -> object:
    async def handle(self: "EscrowWorkflow", command: Command) -> Escrow:
        return await self.take(command)

    def validate(self: "EscrowWorkflow", command: Command) -> None:
        self.refuse_early(command)

    for function in (handle, validate):
        function.__name__ = row.name
        function.__qualname__ = f"EscrowWorkflow.{row.name}"
        function.__annotations__ = {"command": row.command, "return": Escrow if function is handle else None}
    update = workflow.update(name=row.name, description=row.command.__doc__)(handle)
    update.validator(validate)
    return update


@workflow.defn(name="EscrowWorkflow")
@takes_commands
class EscrowWorkflow:
    """One escrow from its creation until nothing of it is left to wait for."""

    @workflow.init
    def __init__(self, start: EscrowInput) -> None:
        # Commands can be handled before ``run`` takes its first step, so everything they touch is made here.
        self._id = start.escrow
        self._clock_offset = timedelta(seconds=start.clock_offset)
        self._escrow: Escrow | None = None
        self._one_at_a_time = asyncio.Lock()
        self._one_charge_at_a_time = asyncio.Lock()
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._waking: set[asyncio.Task[None]] = set()

    @workflow.run
    async def run(self, start: EscrowInput) -> str:  # noqa: ARG002 - ``__init__`` has read it
        """Wait for commands and deadlines until the escrow is over; answers how it ended."""
        while True:
            try:
                await self._begin()
                await self._live()
                await workflow.wait_condition(workflow.all_handlers_finished)
                # A ``create`` may have been on its way all the time, for as long as PostgreSQL was away.
                if self._escrow is None or self._over():
                    return self._escrow.state if self._escrow else "never created"
            except asyncio.CancelledError:
                if workflow.cancellation_reason() is None:
                    raise  # the worker is only putting this run out of its memory
                # Ending an escrow is a command, decided in the books: the engine's own cancellation means nothing here.
                workflow.logger.warning("ignored a request to cancel the workflow: send the command cancel instead")

    async def _live(self) -> None:
        while self._escrow and not self._over():
            if self._must_continue():
                self._continue()
            await self._wait()

    async def _begin(self) -> None:
        """Find the escrow, or wait a while for the ``create`` that this workflow was started for."""
        await self._find()
        try:
            if self._escrow is None:
                await workflow.wait_condition(lambda: self._escrow is not None, timeout=WAIT_FOR_CREATE)
        except TimeoutError:
            workflow.logger.info("no escrow was created")

    async def _find(self) -> None:
        async with self._one_at_a_time:
            if self._escrow is None and (escrow := await read(self._id)):
                self._adopt(escrow)

    def _over(self) -> bool:
        return self._escrow is not None and self._escrow.finished and not self._followed and not self._waking

    async def _wait(self) -> None:
        """Sleep until something changes or the next deadline comes: one timer, set anew only when it changes."""
        armed = self._timer()
        deadline = armed[0]
        if deadline is None:
            await workflow.wait_condition(lambda: self._stirred(armed))
            return
        left = deadline.due_at - self.now()
        if left > timedelta(0):
            summary = timer_summary(self._known(), deadline)
            try:
                await workflow.wait_condition(lambda: self._stirred(armed), timeout=left, timeout_summary=summary)
            except TimeoutError:
                pass
            else:
                return
        try:
            await self._reach(deadline)
        except ApplicationError as error:
            await self._stall(f"{deadline.kind} failed: {error.message}")
        else:
            if deadline in self._known().deadlines:
                await self._stall(f"{deadline.kind} has come and the books did not act on it")

    async def _stall(self, why: str) -> None:
        """Something that only a mistake can cause: a person has to look, and nothing spins meanwhile."""
        workflow.logger.error("%s: %s", self._id, why)
        workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])
        workflow.set_current_details(f"**needs attention**: {why}")
        await workflow.sleep(FOLLOW_EVERY)

    def _timer(self) -> tuple[Deadline | None, timedelta]:
        return self._known().next_deadline, self._clock_offset

    def _stirred(self, armed: tuple[Deadline | None, timedelta]) -> bool:
        return self._timer() != armed or self._over() or self._must_continue()

    def _must_continue(self) -> bool:
        """The server suggests a fresh history, and nothing of this run would be lost with the old one."""
        suggested = workflow.info().is_continue_as_new_suggested()
        return suggested and not self._followed and not self._waking and workflow.all_handlers_finished()

    async def _reach(self, deadline: Deadline) -> None:
        """Tell the books that a deadline has come; whether it still means anything is theirs to say."""
        async with self._one_at_a_time:
            outcome = await commit(deadlines.reach(self._known(), deadline, workflow.now()))
            self._adopt_from(outcome)
        self._wake(outcome)

    def _continue(self) -> NoReturn:
        """Start a fresh history, carrying the escrow's id and the clock; the next run reads the rest."""
        offset = int(self._clock_offset.total_seconds())
        workflow.continue_as_new(EscrowInput(escrow=self._id, clock_offset=offset))

    # Commands -----------------------------------------------------------------------------------------------------

    def refuse_early(self, command: Command) -> None:
        """Refuse what is bound to be refused, before anything is written to history."""
        refusal = self._early(command)
        if refusal:
            raise refused(refusal)

    async def take(self, command: Command) -> Escrow:
        """Apply a command. Raises the refusal as an ``ApplicationError`` whose type is the error's code."""
        outcome = await self._take(command)
        if outcome.refusal:
            raise refused(outcome.refusal)
        return outcome.escrow or self._known()

    async def _take(self, command: Command) -> Outcome:
        # A sender may say when it received the command, never that it will.
        now = workflow.now()
        received_at = min(command.received_at or now, now)
        command = command.model_copy(update={"received_at": received_at})
        if isinstance(command, Fund) and command.source == "gateway":
            async with self._one_charge_at_a_time:
                await self._find()  # a command can come before the first step
                # The snapshot may be old and the id used: the books say whether the card may be charged for this.
                if self._escrow and (due := await amount_due(command)).amount:
                    await self._charge(command, due)
                return await self._commit(command)
        return await self._commit(command)

    async def _commit(self, command: Command) -> Outcome:
        async with self._one_at_a_time:
            outcome = await commit(command)
            self._adopt_from(outcome)
        self._wake(outcome)
        return outcome

    def _early(self, command: Command) -> Refusal | None:
        if command.escrow != self._id:
            message = f"this is the workflow of {self._id}, the command is for {command.escrow}"
            return Refusal(code=ErrorCode.INVALID_COMMAND.code, message=message)
        if self._escrow is None:
            return None
        if isinstance(command, Create):
            return Refusal(code=ErrorCode.ALREADY_EXISTS.code, message=f"escrow {self._id} exists already")
        return refuse_early(self._escrow, command, self.now())

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any command of the table as a signal: its sender does not wait, so a refusal is only recorded."""
        if name not in _COMMANDS or len(arguments) != 1:
            workflow.logger.warning("ignored signal %s: expected one of %s", name, ", ".join(_COMMANDS))
            return
        command = _decoded(name, arguments[0])
        if command is None or command.escrow != self._id:
            workflow.logger.warning("ignored signal %s: it is no such command for this escrow", name)
            return
        try:
            await self._take(command)
        except (FailureError, ValueError, RuntimeError) as error:
            # An exception that leaves a signal handler would fail the escrow for good.
            workflow.logger.warning("signal %s could not be taken: %s", name, type(error).__name__)

    @workflow.update
    async def advance_clock(self, advance: ClockAdvance) -> Escrow:
        """Follow the tenant's test clock: answers when every deadline that has become due was handled.

        The books say how far ahead the clock is, whatever the sender claims.
        """
        workflow.logger.info("the test clock is said to be %d s ahead", advance.clock_offset)
        if escrow := await read(self._id):
            self._adopt(escrow)
        while (escrow := self._escrow) and (deadline := deadlines.due(escrow, self.now())):
            await self._reach(deadline)
            if deadline in self._known().deadlines:
                break  # the books see it otherwise; the main loop looks into that
        return self._known()

    @workflow.signal
    async def look_again(self) -> None:
        """The books have changed without a command of this workflow's: read them."""
        with suppress(FailureError):  # what leaves a signal handler would fail the escrow for good
            if escrow := await read(self._id):
                self._adopt(escrow)

    @advance_clock.validator
    def refuse_no_clock(self, advance: ClockAdvance) -> None:
        """Null and bytes arrive as they are, whatever type was asked for, and would fail the task for ever."""
        if not isinstance(advance, ClockAdvance):
            raise refused(Refusal(code=ErrorCode.INVALID_COMMAND.code, message="expected how far the clock is ahead"))

    @workflow.query
    def snapshot(self) -> Escrow:
        """The escrow as this workflow last saw it."""
        return self._known()

    @workflow.query
    def deadlines(self) -> list[Deadline]:
        """What the escrow will do by itself, and when."""
        return list(self._known().deadlines)

    # What follows from a snapshot ---------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The tenant's time."""
        return workflow.now() + self._clock_offset

    def _known(self) -> Escrow:
        if self._escrow is None:
            raise refused(Refusal(code=ErrorCode.NOT_FOUND.code, message=f"there is no escrow {self._id} yet"))
        return self._escrow

    def _adopt_from(self, outcome: Outcome) -> None:
        if outcome.escrow:
            self._adopt(outcome.escrow)

    def _adopt(self, escrow: Escrow) -> None:
        """Keep a newer snapshot, show it to operators, and see its payouts off. An older one changes nothing."""
        self._clock_offset = max(self._clock_offset, timedelta(seconds=escrow.clock_offset))
        if self._escrow and escrow.version <= self._escrow.version:
            return
        self._escrow = escrow
        workflow.set_current_details(current_details(escrow))
        if changed := changed_attributes(workflow.info().typed_search_attributes, escrow):
            workflow.upsert_search_attributes(changed)
        for payout in escrow.payouts:
            self._follow_once(payout)

    def _follow_once(self, payout: Payout) -> None:
        identifier = ids.payout_workflow(payout.id, payout.generation)
        if payout.going and identifier not in self._followed:
            self._followed[identifier] = asyncio.create_task(self._follow(identifier, payout))

    async def _follow(self, identifier: str, payout: Payout) -> None:
        """Run a payout to its end in a child, so that a slow bank never blocks the escrow.

        The child may be running already, after a rebuild, or have been terminated: it is idempotent, so start it again.
        """
        wait = FOLLOW_EVERY
        while True:
            try:
                escrow = await workflow.execute_child_workflow(
                    PayoutWorkflow.run,
                    PayoutInput(escrow=self._id, payout=payout.id, generation=payout.generation),
                    id=identifier,
                    parent_close_policy=ParentClosePolicy.ABANDON,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    static_summary=payout_summary(self._known(), payout),
                )
                break
            except (WorkflowAlreadyStartedError, ChildWorkflowError) as error:
                if _definite(error):
                    # Trying again is useless until something changes; the next snapshot starts it once more.
                    workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])
                    escrow = self._known()
                    break
                await workflow.sleep(wait)
                wait = min(wait * 2, FOLLOW_AT_LEAST_EVERY)
                escrow = await read(self._id) or self._known()
                now = escrow.payout(payout.id)
                if now is None or now.generation != payout.generation or not now.going:
                    break
        del self._followed[identifier]
        self._adopt(escrow)

    def _wake(self, outcome: Outcome) -> None:
        """Tell other escrows of the same seller that the minimum is reached and their payouts may go.

        Should this get lost, their own deadlines look again within a day.
        """
        for command in outcome.requests():
            task = asyncio.create_task(_signal(command))
            self._waking.add(task)
            task.add_done_callback(self._waking.discard)

    async def _charge(self, command: Fund, due: AmountDue) -> None:
        """Charge the buyer's payment method for what is due; the money arrives in the buyer's wallet."""
        escrow = self._known()
        # Without an order it is the answer of an earlier version, in a history that is replayed.
        order = due.order or charge_order(escrow, command, due.amount or 0)
        while True:
            try:
                await workflow.execute_child_workflow(
                    ChargeWorkflow.run,
                    order,
                    id=ids.charge_workflow(order.id),
                    parent_close_policy=ParentClosePolicy.ABANDON,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    static_summary=f"{escrow.money(order.amount)} from {escrow.buyer}",
                )
                return
            except (WorkflowAlreadyStartedError, ChildWorkflowError) as error:
                if _definite(error):
                    return  # without a confirmed charge the books refuse the funding
                await workflow.sleep(FOLLOW_EVERY)


async def _signal(command: RequestPayout) -> None:
    """Send a command to another escrow's workflow. One that is not there has no payout to wait with."""
    other = workflow.get_external_workflow_handle(ids.escrow_workflow(command.escrow))
    try:
        await other.signal(command.name, command)
    except FailureError as error:
        workflow.logger.warning("%s was not told of its payout: %s", command.escrow, error)


def _decoded(name: str, argument: RawValue) -> Command | None:
    """The command that a signal carries, or None for whatever else somebody sent under its name."""
    kind = _COMMANDS[name]
    try:
        command = workflow.payload_converter().from_payload(argument.payload, kind)
    except Exception:  # noqa: BLE001 - converters raise what they like, and the task would be tried again for ever
        return None
    # Null and bytes come out as they are, whatever type was asked for.
    return command if isinstance(command, kind) else None


def _definite(error: BaseException | None) -> bool:
    """Whether an error says that trying again is useless."""
    while error is not None:
        if isinstance(error, ApplicationError) and error.non_retryable:
            return True
        error = error.__cause__
    return False
