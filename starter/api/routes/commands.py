"""What became of a command, for whoever got no answer in time; and who one is. Source: http-contract.md, "Routes"."""

from typing import Final, Literal

from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from ledger import records, terms
from ledger.keys import Mode
from models.errors import Refusal, RefusedError
from models.fields import CommandId
from starter.api.asking import Ask
from starter.api.commanding import discreet
from starter.api.once import OnceRoute
from starter.api.principals import KeyRole
from starter.api.problems import ProblemError
from starter.api.views import View

_ID: Final[TypeAdapter[str]] = TypeAdapter(CommandId)

router = APIRouter(prefix="/v1", route_class=OnceRoute, tags=["commands"])


class CommandView(View):
    """What became of a command. ``unknown``: it was not decided, yet or ever; sent again with its key it will be.

    A refused one has the problem's ``code`` and ``message``.
    """

    id: str
    escrow: str | None = None
    name: str | None = None
    status: Literal["accepted", "refused", "unknown"]
    code: str | None = None
    message: str | None = None


class TenantView(View):
    """Whose books a key opens, with which rights, and for whom it acts here: ``operator``, ``buyer:alice``."""

    id: str
    name: str
    mode: Mode
    reporting_currency: str
    role: KeyRole
    actor: str


@router.get("/commands/{command:path}")
async def get_command(asked: Ask, command: str) -> CommandView:
    """What became of a command, by the id in its status URL. A party sees those that it sent itself."""
    try:
        _ID.validate_python(command)
    except ValidationError:
        raise ProblemError(
            404, "there is no such command: its id is the Idempotency-Key that it was sent with"
        ) from None
    kept = asked.principal.scope + command
    found = await run_in_threadpool(records.command, asked.engine, asked.tenant, kept, asked.principal.party)
    if found is None:
        return CommandView(id=command, status="unknown")
    if found.refusal is None:
        return CommandView(id=command, escrow=found.escrow, name=found.name, status="accepted")
    told = discreet(asked, RefusedError.of(Refusal.model_validate(found.refusal))).refusal
    return CommandView(
        id=command, escrow=found.escrow, name=found.name, status="refused", code=told.code, message=told.message
    )


@router.get("/tenant")
async def get_tenant(asked: Ask) -> TenantView:
    """Who asks: whose books the key opens, and for whom it acts."""
    found = await run_in_threadpool(terms.tenant, asked.engine, asked.tenant)
    if found is None:
        raise ProblemError(404, "there is no such tenant any more")
    return TenantView(**found, role=asked.principal.role, actor=str(asked.principal.actor))
