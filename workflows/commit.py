"""Committing a command: a local activity when PostgreSQL is there, a visible and patient one when it is not."""

from typing import cast

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.ledger import LedgerActivities
    from models.commands import AnyCommand, Command
    from models.errors import Refusal
    from models.outcome import Outcome
    from workflows import timeouts


async def commit(command: Command) -> Outcome:
    """Apply a command, however long PostgreSQL is away. A refusal is an outcome, not an exception."""
    summary = f"{command.name} by {command.actor}"
    one = cast("AnyCommand", command)
    try:
        return await workflow.execute_local_activity_method(
            LedgerActivities.apply,
            one,
            start_to_close_timeout=timeouts.BOOKS_START_TO_CLOSE,
            retry_policy=timeouts.BOOKS_BRIEFLY,
            summary=summary,
        )
    except FailureError:
        # Failed local activities arrive as a bare ApplicationError, so that is no place to look for a cause.
        return await workflow.execute_activity_method(
            LedgerActivities.apply,
            one,
            start_to_close_timeout=timeouts.BOOKS_START_TO_CLOSE,
            retry_policy=timeouts.BOOKS_UNTIL_BACK,
            summary=summary,
        )


def refused(refusal: Refusal) -> ApplicationError:
    """The error an update answers with: its type is the refusal's code, its details the members of the answer."""
    return ApplicationError(refusal.message, refusal.details, type=refusal.code, non_retryable=True)
