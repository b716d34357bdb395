"""Sending commands to escrows' workflows, and getting a definite answer back even when the road breaks.

A command that may or may not have arrived is sent again with its id: the books make sure that it happens once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar

import sqlalchemy.exc
from sqlalchemy import Engine
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, TerminatedError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from ledger import reads, tenants
from ledger.books import Books, input_hash
from ledger.engine import for_tenant
from ledger.seals import Seals
from models import deadlines, ids
from models.charges import Charge, ChargeOrder
from models.commands import Actor, Command, Create, Origin, RequestPayout
from models.decide import refuse_early
from models.errors import ErrorCode, Refusal, RefusedError
from models.escrow import Escrow
from models.outcome import Outcome
from models.screening import ScreeningResult, ScreenParty, screening_workflow
from starter import openings
from starter.arrival import TRANSIENT, OutcomeUnknownError, lost, not_sent, unclear
from workflows.charge import ChargeWorkflow
from workflows.escrow import EscrowWorkflow
from workflows.inputs import ClockAdvance
from workflows.screening import ScreenPartyWorkflow
from workflows.timeouts import TASK_QUEUE

T = TypeVar("T")

_CODES: Final = frozenset(kind.code for kind in ErrorCode)
_ONE_TRY: Final = timedelta(seconds=20)
_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 5.0
_MOST_OWNERS: Final = 10_000
_LOST_CHARGE: Final = "the workflow of the charge was lost on the way: the next attempt starts it again"


class Sender:
    """Sends commands for one program. ``patience`` is how long it keeps asking for one command's outcome, ``one_try``
    how long it waits for one answer.

    Workers take what ``seals`` made with keys of theirs; without seals they refuse everything. With ``tenant`` it is
    the sender of that tenant alone: it sees nobody else's rows, and its seals are good for nobody else's escrows.
    """

    def __init__(
        self,
        client: Client,
        engine: Engine,
        patience: timedelta = timedelta(minutes=2),
        *,
        seals: Seals | None,
        tenant: str | None = None,
        one_try: timedelta = _ONE_TRY,
    ) -> None:
        self._client = client
        self._engine = for_tenant(engine, tenant) if tenant else engine
        self._seals = seals
        self._books = Books(self._engine)
        self._patience = patience
        self._one_try = one_try
        self._tenant = tenant
        self._owners: dict[str, str] = {}  # escrow to tenant, which never changes

    def for_tenant(self, tenant: str) -> Self:
        """The same for one tenant alone; cheap."""
        other = copy(self)
        other._engine = for_tenant(self._engine, tenant)
        other._books = Books(other._engine)
        other._tenant = tenant
        return other

    async def send(self, command: Command) -> Escrow:
        """Send a command and return the escrow as it then is.

        Raises ``RefusedError`` with the refusal (not_found, before anything is sent, for an escrow of which our role in
        the database sees nothing), or ``OutcomeUnknownError`` when the engine stays away too long.
        """
        command = command.model_copy(update={"received_at": command.received_at or datetime.now(UTC)})
        what = f"{command.name} {command.id}"
        tenant = await self.patiently(what, lambda: self._tenant_of(command), sends=False)
        sealed = self._seals.seal(command, tenant) if self._seals else command
        try:
            return await self.patiently(what, lambda: self._sent(sealed))
        except OutcomeUnknownError as error:
            # Temporal may be away with the answer, while the books have it.
            with suppress(sqlalchemy.exc.OperationalError):
                if stored := await asyncio.to_thread(reads.stored_outcome, self._engine, sealed):
                    return _answered(stored)
            raise error from error.__cause__

    async def top_up(self, order: ChargeOrder) -> Charge:
        """Charge a payment method and credit the wallet; waits until the gateway's answer is definite.

        Raises ``RefusedError`` (idempotency_key_reused) when the id stands for another charge, and
        ``OutcomeUnknownError`` when there is no answer in time: the same order again finds out.
        """
        if self._tenant not in {None, order.tenant}:
            raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {order.tenant}")
        sealed = self._sealed_charge(order)
        return await self.patiently(f"top_up {order.id}", lambda: self._charged(sealed))

    async def advance_clock(self, tenant: str, to: timedelta) -> int:
        """Move a test tenant's clock ahead by ``to`` in all; returns when every deadline that came due was handled.

        Answers how many escrows waited for one; they are told in the order of their deadlines. Raises ``RefusedError``
        for a live or unknown tenant, and ``OutcomeUnknownError`` when an escrow does not answer in time: moving to the
        same time again goes on.
        """
        what = f"advance_clock {tenant}"
        offset = await self.patiently(what, lambda: asyncio.to_thread(tenants.move_clock, self._engine, tenant, to))
        waiting = await self.patiently(what, lambda: asyncio.to_thread(reads.waiting_escrows, self._engine, tenant))
        for escrow in waiting:
            await self.patiently(f"{what} {escrow}", lambda escrow=escrow: self._follow_clock(escrow, offset))  # type: ignore[misc]
        return len(waiting)

    async def request_payouts(
        self, tenant: str, party: str, actor: Actor, request: str, origin: Origin | None = None
    ) -> list[Escrow]:
        """Ask for all of a party's payouts that are held; answers their escrows. ``request`` is unique to this asking.

        What still has to wait keeps its reason. Raises ``OutcomeUnknownError`` as ``send`` does.
        """
        held = await asyncio.to_thread(reads.held_payouts, self._engine, tenant, party)
        answers = []
        for payout, escrow in held:
            command = RequestPayout(id=f"{request}:{payout}", escrow=escrow, actor=actor, payout=payout, origin=origin)
            try:
                answers.append(await self.send(command))
            except RefusedError as error:
                if error.refusal.kind is not ErrorCode.PAYOUT_HELD:
                    raise
        return answers

    async def screen_party(self, tenant: str, party: str) -> ScreeningResult:
        """Have a party screened as it is now; payouts that compliance need not hold any more have then been asked for.

        Raises ``RefusedError``: not_found without such a tenant, internal_error where the provider needs mending; and
        ``OutcomeUnknownError`` when there is no answer in time: asking goes on, and nothing changes meanwhile.
        """
        what = f"screen {party}"
        asked = await self.patiently(what, lambda: self._ask_to_screen(ScreenParty(tenant=tenant, party=party)))
        try:
            return await self.patiently(what, asked.result)
        except WorkflowFailureError as error:
            if refusal := _refusal_in(error):
                raise RefusedError.of(refusal) from error
            raise

    async def revive(self, escrow: Escrow, *, anew: bool = False) -> None:
        """See that an escrow's workflow runs: one that is gone starts again, from what the books say. Harmless twice.

        ``anew``: one that runs gives way to a new one, with what it had not written to the books yet. Raises
        ``OutcomeUnknownError`` when the engine stays away too long.
        """
        how = openings.from_books(escrow)
        if anew:
            how["id_conflict_policy"] = WorkflowIDConflictPolicy.TERMINATE_EXISTING
        await self.patiently(f"revive {escrow.id}", lambda: self._client.start_workflow(EscrowWorkflow.run, **how))

    async def revive_charge(self, order: ChargeOrder) -> None:
        """See that a workflow asks about a charge that is pending, and books what came of it.

        Harmless twice: the charge's id is the gateway's key. Raises as ``revive`` does.
        """
        how = openings.charging(self._sealed_charge(order))
        await self.patiently(f"revive {order.id}", lambda: self._client.start_workflow(ChargeWorkflow.run, **how))

    async def screen_again(self, of: ScreenParty) -> None:
        """Have a party screened without waiting for what comes of it. Raises as ``revive`` does."""
        await self.patiently(f"screen {of.party}", lambda: self._ask_to_screen(of))

    async def patiently(self, what: str, attempt: Callable[[], Awaitable[T]], *, sends: bool = True) -> T:
        """Attempt until there is an answer. Every attempt carries the same ids, so repeating one is harmless.

        Raises ``OutcomeUnknownError``. What ``sends`` nothing only reads.
        """
        give_up = asyncio.get_running_loop().time() + self._patience.total_seconds()
        wait, sent = _FIRST_WAIT, False
        while True:
            trying = asyncio.ensure_future(attempt())
            trying.add_done_callback(_seen)
            try:
                return await asyncio.wait_for(trying, self._one_try.total_seconds())
            except TRANSIENT as error:
                if not unclear(error):
                    raise
                sent = sent or (sends and not not_sent(error))
                if asyncio.get_running_loop().time() + wait > give_up:
                    raise OutcomeUnknownError(f"{what}: {error}", sent=sent) from error
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _tenant_of(self, command: Command) -> str:
        """Whose escrow it is, as the books say; raises ``RefusedError`` (not_found) where we see none."""
        if isinstance(command, Create):
            if self._tenant not in {None, command.tenant}:
                raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {command.tenant}")
            return command.tenant
        tenant = self._owners.get(command.escrow)
        if tenant is None:
            tenant = await asyncio.to_thread(reads.tenant_of, self._engine, command.escrow)
        if tenant is None or self._tenant not in {None, tenant}:
            raise RefusedError(ErrorCode.NOT_FOUND, f"there is no escrow {command.escrow}")
        if len(self._owners) >= _MOST_OWNERS:
            self._owners.clear()
        self._owners[command.escrow] = tenant
        return tenant

    async def _sent(self, command: Command) -> Escrow:
        try:
            return await self._update(command)
        except WorkflowUpdateFailedError as error:
            if lost(error):
                raise
            return await self._refused(command, error)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        except WorkflowAlreadyStartedError:
            pass
        return await self._answer_from_books(command)

    async def _charged(self, order: ChargeOrder) -> Charge:
        try:
            charge: Charge = await self._client.execute_workflow(ChargeWorkflow.run, **openings.charging(order))
            return charge
        except WorkflowFailureError as error:
            if refusal := _refusal_in(error):
                raise RefusedError.of(refusal) from error
            if isinstance(error.cause, TerminatedError):
                raise TimeoutError(_LOST_CHARGE) from error
            raise
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise TimeoutError(_LOST_CHARGE) from error
            raise

    def _sealed_charge(self, order: ChargeOrder) -> ChargeOrder:
        return self._seals.seal_charge(order) if self._seals else order

    async def _ask_to_screen(self, of: ScreenParty) -> WorkflowHandle[ScreenPartyWorkflow, ScreeningResult]:
        return await self._client.start_workflow(
            ScreenPartyWorkflow.run,
            of,
            id=screening_workflow(of),
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="ask",
            static_summary=f"screening of {of.party}",
        )

    async def _follow_clock(self, escrow: str, offset: int) -> None:
        handle = self._client.get_workflow_handle(ids.escrow_workflow(escrow))
        advance = ClockAdvance(clock_offset=offset)
        try:
            await handle.execute_update(EscrowWorkflow.advance_clock, advance, id=f"clock:{offset}")
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            await self._see_that_nothing_is_due(escrow, timedelta(seconds=offset))

    async def _see_that_nothing_is_due(self, identifier: str, offset: timedelta) -> None:
        """A workflow that is over needs no clock, unless it left a deadline behind."""
        escrow = await asyncio.to_thread(reads.escrow, self._engine, identifier)
        if escrow and deadlines.due(escrow, datetime.now(UTC) + offset):
            raise OutcomeUnknownError(f"{identifier} has no running workflow: it has to be rebuilt first")

    async def _update(self, command: Command) -> Escrow:
        if isinstance(command, Create):
            return await self._start_with(command, openings.anew(command))
        handle = self._client.get_workflow_handle(ids.escrow_workflow(command.escrow))
        escrow: Escrow = await handle.execute_update(command.name, command, id=_update_id(command), result_type=Escrow)
        return escrow

    async def _start_with(self, command: Command, start: WithStartWorkflowOperation[EscrowWorkflow, str]) -> Escrow:
        asyncio.ensure_future(start.workflow_handle()).add_done_callback(_seen)
        escrow: Escrow = await self._client.execute_update_with_start_workflow(
            command.name, command, start_workflow_operation=start, id=_update_id(command), result_type=Escrow
        )
        return escrow

    async def _reopened(self, command: Command, escrow: Escrow) -> Escrow:
        """The rules may take it, but nothing runs: the escrow was over (clawbacks, chargebacks, returned payouts come
        after the end), or its workflow was lost. The workflow starts again from the books, with this command.
        """
        try:
            start = WithStartWorkflowOperation(EscrowWorkflow.run, **openings.from_books(escrow))
            return await self._start_with(command, start)
        except WorkflowUpdateFailedError as error:
            if lost(error):
                raise
            return await self._refused(command, error)

    async def _refused(self, command: Command, error: WorkflowUpdateFailedError) -> Escrow:
        """Raise the refusal that the workflow gave, unless the books know that the command was accepted before."""
        refusal = _refusal_in(error)
        if refusal is None:
            # It did not get as far as the rules (a payload that cannot be read, say), so there is nothing to record.
            raise RefusedError(ErrorCode.INVALID_COMMAND, "the command cannot be read by the workers") from error
        if refusal.kind is ErrorCode.INTERNAL_ERROR:
            raise RefusedError.of(refusal) from error  # a mistake of ours is not the command's outcome
        if refusal.kind is ErrorCode.UNSEALED_COMMAND:
            raise RefusedError.of(refusal) from error  # it is on record, and the command's id stays free
        if await self._behind(command, refusal):
            raise TimeoutError("the workflow does not know yet what the books know: it is asked again") from error
        outcome = await asyncio.to_thread(self._books.record_refusal, command, refusal)
        if outcome.refusal is None and outcome.escrow is not None:
            return outcome.escrow
        raise RefusedError.of(outcome.refusal or refusal) from error

    async def _behind(self, command: Command, refusal: Refusal) -> bool:
        """Whether a validator refused by an older escrow than the books have: the last command was cut short there."""
        if isinstance(command, Create) or refusal.kind is ErrorCode.IDEMPOTENCY_KEY_REUSED:
            return False
        if await asyncio.to_thread(reads.stored_outcome, self._engine, command):
            return False  # the books refused it themselves
        escrow = await asyncio.to_thread(reads.escrow, self._engine, command.escrow)
        if escrow is None or refuse_early(escrow, command, _tenant_now(escrow)):
            return False
        await self._client.get_workflow_handle(ids.escrow_workflow(escrow.id)).signal(EscrowWorkflow.look_again)
        return True

    async def _recorded(self, command: Command, refusal: Refusal) -> Refusal:
        """Put a refusal into the audit that the workflow gave without touching the books; answers the stored one."""
        outcome = await asyncio.to_thread(self._books.record_refusal, command, refusal)
        return outcome.refusal or refusal

    async def _answer_from_books(self, command: Command) -> Escrow:
        """The workflow is over, or there never was one: the books know what became of the command, or refuse it."""
        stored = await asyncio.to_thread(reads.stored_outcome, self._engine, command)
        if stored is None:
            escrow = await asyncio.to_thread(reads.escrow, self._engine, command.escrow)
            if escrow is None:
                raise RefusedError(ErrorCode.NOT_FOUND, f"there is no escrow {command.escrow}")
            refusal = _already_there(command) or refuse_early(escrow, command, _tenant_now(escrow))
            if refusal is None:
                return await self._reopened(command, escrow)
            raise RefusedError.of(await self._recorded(command, refusal))
        return _answered(stored)


def _answered(stored: Outcome) -> Escrow:
    """What the books have as a command's outcome; raises it if it is a refusal."""
    if stored.refusal or stored.escrow is None:
        raise RefusedError.of(stored.refusal or Refusal(code=ErrorCode.NOT_FOUND.code, message="no escrow"))
    return stored.escrow


def _update_id(command: Command) -> str:
    """The engine answers a repeated id with the first result, whatever the body; so the body is part of the id.

    The seal is of the body too, and nobody else can make it: who could tell the id beforehand would have it answered.
    """
    return f"{command.id}:{(command.seal or input_hash(command))[-16:]}"


def _seen(attempt: asyncio.Future[Any]) -> None:
    """Look at an error of the SDK for which nobody waits any more, or asyncio would print it as never retrieved."""
    if not attempt.cancelled():
        attempt.exception()


def _refusal_in(error: WorkflowUpdateFailedError | WorkflowFailureError) -> Refusal | None:
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type not in _CODES:
        return None
    details = dict(cause.details[0]) if cause.details else {}
    return Refusal(code=cause.type, message=cause.message, details=details)


def _already_there(command: Command) -> Refusal | None:
    if isinstance(command, Create):
        return Refusal(code=ErrorCode.ALREADY_EXISTS.code, message=f"escrow {command.escrow} exists already")
    return None


def _tenant_now(escrow: Escrow) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=escrow.clock_offset)
