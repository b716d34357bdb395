"""The test clock: a rehearsal's tenant moves its time forward, and every deadline follows. Source: domain.md, 9."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, AwareDatetime, ConfigDict
from starlette.concurrency import run_in_threadpool

from ledger import reads, tenants
from models.fields import Document, Duration
from starter.api.asking import Ask, Json, not_for_parties
from starter.api.commanding import COMMANDED, pending
from starter.api.once import Asked, OnceRoute
from starter.api.problems import ProblemError
from starter.api.views import View
from starter.arrival import OutcomeUnknownError

router = APIRouter(prefix="/v1/test-clock", route_class=OnceRoute, tags=["test clock"])


def _whole_seconds(by: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= by <= tenants.FARTHEST or by.microseconds:
        raise ValueError("expected a duration of whole seconds above zero and up to P36500D, such as P14D or PT1H")
    return by


class Advance(Document):
    """How much further."""

    by: Annotated[Duration, AfterValidator(_whole_seconds)]

    model_config = ConfigDict(json_schema_extra={"example": {"by": "P14D"}})


class ClockView(View):
    """The tenant's time, and how far it is ahead. ``escrows`` wait for a deadline; after a move, did so before it."""

    now: AwareDatetime
    offset: Duration
    escrows: int


@router.get("")
async def get_clock(asked: Ask) -> ClockView:
    """The tenant's time."""
    _rehearsals_only(asked)
    waiting = await run_in_threadpool(reads.waiting_escrows, asked.engine, asked.tenant)
    return await _clock(asked, len(waiting))


@router.post("/advance", responses=COMMANDED)
async def advance_clock(asked: Ask, body: Json[Advance]) -> ClockView:
    """Move the tenant's clock forward; answers when every deadline that came due has been handled. Test keys only."""
    _rehearsals_only(asked)
    to = await run_in_threadpool(tenants.set_clock_forward, asked.engine, asked.tenant, body.by, asked.key)
    try:
        escrows = await asked.sender.advance_clock(asked.tenant, timedelta(seconds=to))
    except OutcomeUnknownError as error:
        return pending(asked, error, "/v1/test-clock")  # type: ignore[return-value]
    return await _clock(asked, escrows)


async def _clock(asked: Asked, escrows: int) -> ClockView:
    offset = await run_in_threadpool(_offset, asked)
    return ClockView(now=datetime.now(UTC) + offset, offset=offset, escrows=escrows)


def _rehearsals_only(asked: Asked) -> None:
    not_for_parties(asked, "the test clock")
    if asked.principal.mode != "test":
        raise ProblemError(403, "only test keys have a clock that can be moved: live money keeps real time")


def _offset(asked: Asked) -> timedelta:
    return reads.clock_offset(asked.engine, asked.tenant) or timedelta(0)
