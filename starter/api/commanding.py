"""Sending a command for whoever asks: to the escrow's workflow, under the request's key, and what it answers."""

from typing import Any, Final, TypeVar
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from ledger import reads
from models import ids
from models.commands import Command, Create
from models.discretion import escrow_for, refusal_for
from models.errors import RefusedError
from models.escrow import Escrow
from starter.api.asking import expected_version
from starter.api.once import Asked
from starter.api.problems import ProblemError, not_reached
from starter.api.views import EscrowView, Unknown, tag
from starter.arrival import OutcomeUnknownError

Kind = TypeVar("Kind", bound=Command)

# What every route that sends a command may answer besides the escrow.
COMMANDED: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": Unknown, "description": "The outcome could not be learned in time: the same key asks again."}
}


async def visible_escrow(asked: Asked, identifier: str) -> Escrow:
    """The escrow, if it is the asker's to see. Raises 404 otherwise, whatever the reason."""
    escrow = None
    if ids.is_id("esc", identifier):
        escrow = await run_in_threadpool(reads.escrow, asked.engine, identifier)
    if escrow is None or asked.principal.party not in {None, escrow.buyer, escrow.seller}:
        raise ProblemError(404, "there is no such escrow: its id would be like esc_01jd3v6k9q4m8n2p5r7s0t1w3x")
    return escrow


async def command(request: Request, asked: Asked, kind: type[Kind], escrow: str, **said: Any) -> Escrow:
    """Send a command and wait for the escrow as it then is.

    Raises the refusal, ``OutcomeUnknownError``, or the problem that it cannot be sent at all.
    """
    order = kind(
        id=asked.key,
        escrow=escrow,
        actor=asked.principal.actor,
        expected_version=None if kind is Create else expected_version(request),
        origin=asked.origin,
        **said,
    )
    structlog.contextvars.bind_contextvars(escrow=escrow, command=order.id)
    with asked.metrics.commanding(order.name):
        return await asked.sender.send(order)


async def commanded(
    request: Request, response: Response, asked: Asked, kind: type[Kind], escrow: str, **said: Any
) -> EscrowView:
    """Send a command about an escrow that the asker may see; answers the escrow, or 202 while nobody knows."""
    await visible_escrow(asked, escrow)
    try:
        after = await command(request, asked, kind, escrow, **said)
    except OutcomeUnknownError as error:
        return pending(asked, error)  # type: ignore[return-value]  # FastAPI sends a response as it is
    except RefusedError as error:
        raise discreet(asked, error) from error
    tag(response, after)
    return seen(asked, after)


def seen(asked: Asked, escrow: Escrow) -> EscrowView:
    """The escrow as the asker may see it."""
    return EscrowView.of(escrow_for(asked.principal.actor.role, escrow))


def discreet(asked: Asked, error: RefusedError) -> RefusedError:
    """The refusal as the asker may read it."""
    return RefusedError.of(refusal_for(asked.principal.actor.role, error.refusal))


def pending(asked: Asked, error: OutcomeUnknownError, status_url: str | None = None, **members: str) -> Response:
    """202: it may have been carried out. Raises the error where Temporal was not even reached: 503.

    The status URL is the command's unless it is another one; ``members`` go beside it.
    """
    if not_reached(error):
        raise error
    key = asked.key.removeprefix(asked.principal.scope)
    status = Unknown(status_url=status_url or f"/v1/commands/{quote(key, safe='')}")
    headers = {"Location": status.status_url, "Retry-After": "2"}
    return JSONResponse(members | status.model_dump(), 202, headers)


def new_id(prefix: str, asked: Asked) -> str:
    """The id of what a request makes: the same at every attempt."""
    return ids.derive(prefix, asked.claimed_at, asked.tenant, asked.key)
