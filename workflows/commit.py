"""Asking the books: a local activity when PostgreSQL is there, a visible and patient one when it is not."""

from collections.abc import Callable
from typing import TypeVar, cast

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.ledger import LedgerActivities
    from models.charges import AmountDue, Charge, ChargeOrder, ChargeResult
    from models.commands import AnyCommand, Command
    from models.errors import Refusal
    from models.escrow import Escrow
    from models.outcome import Outcome
    from workflows import timeouts

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


async def commit(command: Command) -> Outcome:
    """Apply a command, however long PostgreSQL is away. A refusal is an outcome, not an exception."""
    summary = f"{command.name} by {command.actor}"
    return await _ask(LedgerActivities.apply, cast("AnyCommand", command), summary)


async def amount_due(command: Command) -> AmountDue:
    """Ask the books what a funding from the gateway has to charge, or why it may not; writes nothing."""
    return await _ask(LedgerActivities.amount_due, cast("AnyCommand", command), f"what does {command.actor} owe?")


async def read(escrow: str) -> Escrow | None:
    """Read an escrow as it stands in the books."""
    return await _ask(LedgerActivities.read_escrow, escrow, "read the escrow")


async def begin_charge(order: ChargeOrder) -> Charge:
    """Write a charge down before the gateway is asked."""
    return await _ask(LedgerActivities.begin_charge, order, f"write down the charge of {order.amount} {order.currency}")


async def settle_charge(result: ChargeResult) -> Charge:
    """Book a charge's definite outcome."""
    return await _ask(LedgerActivities.settle_charge, result, f"book the charge as {result.status}")


def refused(refusal: Refusal) -> ApplicationError:
    """The error an update answers with: its type is the refusal's code, its details the members of the answer."""
    return ApplicationError(refusal.message, refusal.details, type=refusal.code, non_retryable=True)


async def _ask(method: Callable[[LedgerActivities, Argument], Answer], argument: Argument, summary: str) -> Answer:
    try:
        answer = await workflow.execute_local_activity_method(
            method,
            argument,
            start_to_close_timeout=timeouts.BOOKS_START_TO_CLOSE,
            retry_policy=timeouts.BOOKS_BRIEFLY,
            summary=summary,
        )
    except FailureError as error:
        # A failed local activity arrives as a bare ApplicationError, not as an ActivityError with a cause.
        if isinstance(error, ApplicationError) and error.non_retryable:
            raise
        answer = await workflow.execute_activity_method(
            method,
            argument,
            start_to_close_timeout=timeouts.BOOKS_START_TO_CLOSE,
            retry_policy=timeouts.BOOKS_UNTIL_BACK,
            summary=summary,
        )
    return answer
