"""Disputes: raising, answering, judging. Source: http-contract.md, "Routes"."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from ledger import listings
from models import commands
from models.errors import RefusedError
from models.escrow import Escrow
from models.fields import Amount, Document, EvidenceList, Line, MilestoneId, Share, Text
from models.states import DisputeStatus
from starter.api.asking import Ask, Json, Limit, StartingAfter
from starter.api.commanding import COMMANDED, command, commanded, discreet, pending, seen, visible_escrow
from starter.api.once import Asked, OnceRoute
from starter.api.parts import escrow_with
from starter.api.views import DisputeView, EscrowView, Page, tag
from starter.arrival import OutcomeUnknownError

router = APIRouter(prefix="/v1", route_class=OnceRoute, tags=["disputes"])


class NewDispute(Document):
    """What is wrong. Without ``milestones`` all that is held is frozen."""

    reason: Line
    description: Text
    evidence: EvidenceList = ()
    milestones: Annotated[tuple[MilestoneId, ...], Field(max_length=20)] = ()


class MoreEvidence(Document):
    """A statement, evidence, or both."""

    statement: Text | None = None
    evidence: EvidenceList = ()


class Resolution(Document):
    """How an operator decides. ``refund_amount`` goes with ``partial_refund``, ``seller_share`` with ``split``."""

    resolution: Literal["buyer_favor", "seller_favor", "partial_refund", "split", "mediation"]
    details: Text
    refund_amount: Amount | None = None
    seller_share: Share | None = None


@router.post("/escrows/{escrow}/disputes", status_code=201, responses=COMMANDED)
async def raise_dispute(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[NewDispute]
) -> DisputeView:
    """Freeze what is held, or the named milestones. Answers the dispute; the `ETag` is the escrow's."""
    await visible_escrow(asked, escrow)
    try:
        after = await command(request, asked, commands.RaiseDispute, escrow, **dict(body))
    except OutcomeUnknownError as error:
        return pending(asked, error)  # type: ignore[return-value]  # FastAPI sends a response as it is
    except RefusedError as error:
        raise discreet(asked, error) from error
    raised = next(one for one in reversed(seen(asked, after).disputes))
    tag(response, after)
    response.headers["Location"] = f"/v1/disputes/{raised.id}"
    return raised


@router.get("/disputes")
async def list_disputes(
    asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None, status: DisputeStatus | None = None
) -> Page[DisputeView]:
    """Disputes, newest first."""
    cut = listings.Cut(limit, starting_after, asked.principal.party)
    found, more = await run_in_threadpool(listings.parts, asked.engine, "dispute", asked.tenant, cut, status)
    return Page(data=[_of(asked, escrow, one) for one, escrow in found], has_more=more)


@router.get("/disputes/{dispute}")
async def get_dispute(response: Response, asked: Ask, dispute: str) -> DisputeView:
    """One dispute as it stands."""
    escrow = await _escrow_of(asked, dispute)
    tag(response, escrow)
    return _of(asked, escrow, dispute)


@router.post("/disputes/{dispute}/evidence", responses=COMMANDED)
async def add_evidence(
    request: Request, response: Response, asked: Ask, dispute: str, body: Json[MoreEvidence]
) -> EscrowView:
    """Answer in a dispute: each side, or an operator."""
    escrow = await _escrow_of(asked, dispute)
    said = dict(body)
    return await commanded(request, response, asked, commands.AddEvidence, escrow.id, dispute=dispute, **said)


@router.post("/disputes/{dispute}/review", responses=COMMANDED)
async def review_dispute(request: Request, response: Response, asked: Ask, dispute: str) -> EscrowView:
    """An operator takes the dispute."""
    escrow = await _escrow_of(asked, dispute)
    return await commanded(request, response, asked, commands.ReviewDispute, escrow.id, dispute=dispute)


@router.post("/disputes/{dispute}/resolve", responses=COMMANDED)
async def resolve_dispute(
    request: Request, response: Response, asked: Ask, dispute: str, body: Json[Resolution]
) -> EscrowView:
    """An operator decides, and the money moves accordingly."""
    escrow = await _escrow_of(asked, dispute)
    said = dict(body)
    return await commanded(request, response, asked, commands.ResolveDispute, escrow.id, dispute=dispute, **said)


@router.post("/disputes/{dispute}/close", responses=COMMANDED)
async def close_dispute(request: Request, response: Response, asked: Ask, dispute: str) -> EscrowView:
    """An operator closes the file of a resolved dispute."""
    escrow = await _escrow_of(asked, dispute)
    return await commanded(request, response, asked, commands.CloseDispute, escrow.id, dispute=dispute)


async def _escrow_of(asked: Asked, dispute: str) -> Escrow:
    return await escrow_with(asked, "dispute", dispute)


def _of(asked: Asked, escrow: Escrow, dispute: str) -> DisputeView:
    return next(one for one in seen(asked, escrow).disputes if one.id == dispute)
