"""Whether something that was sent to Temporal arrived: surely not, surely, or nobody can tell."""

from typing import Final

import psycopg
import sqlalchemy.exc
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

# Another attempt under the same id finds out.
_UNCLEAR: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNKNOWN,
    }
)
# What an attempt raises while Temporal or PostgreSQL is away; ``unclear`` tells which of them another may cure.
TRANSIENT: Final = (
    RPCError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    TimeoutError,
    psycopg.OperationalError,
    sqlalchemy.exc.OperationalError,
    RuntimeError,
)
# What the SDK raises, as a bare RuntimeError, when a connection that is made on first use cannot be made; and what it
# says when one that there was cannot be made again.
_NO_CONNECTION: Final = "Failed client connect"
_NOT_CONNECTED: Final = ("tcp connect error", "dns error")
_LOST_UPDATE: Final = "AcceptedUpdateCompletedWorkflow"


class OutcomeUnknownError(Exception):
    """The command's outcome could not be learned in time. Send the same command again, with the same id.

    ``sent`` is False where it certainly never left us.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


def unclear(error: Exception) -> bool:
    """Whether an attempt may or may not have arrived, so that only another one can tell."""
    if isinstance(error, RPCError):
        return error.status in _UNCLEAR
    if isinstance(error, RuntimeError):
        return not_sent(error)
    return not isinstance(error, WorkflowUpdateFailedError) or lost(error)


def not_sent(error: BaseException) -> bool:
    """Whether Temporal was not even connected to, or did not let it in: nothing was sent."""
    if isinstance(error, RPCError):
        if error.status == RPCStatusCode.RESOURCE_EXHAUSTED:
            return True
        return error.status == RPCStatusCode.UNAVAILABLE and any(sign in str(error) for sign in _NOT_CONNECTED)
    return isinstance(error, RuntimeError) and str(error).startswith(_NO_CONNECTION)


def lost(error: WorkflowUpdateFailedError) -> bool:
    """Whether an accepted update got lost because its run ended: the next run takes it."""
    return isinstance(error.cause, ApplicationError) and error.cause.type == _LOST_UPDATE
