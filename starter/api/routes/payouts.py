"""Payouts: money on its way to sellers. Source: http-contract.md, "Routes"."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from ledger import listings
from models import commands
from models.escrow import Escrow
from models.fields import Document, PartyId
from models.parties import Destination
from models.states import PayoutStatus
from starter.api.asking import Ask, Json, Limit, StartingAfter, not_for_parties
from starter.api.commanding import COMMANDED, commanded, seen
from starter.api.once import Asked, OnceRoute
from starter.api.parts import escrow_with, not_there
from starter.api.views import EscrowView, Page, PayoutView, tag

router = APIRouter(prefix="/v1/payouts", route_class=OnceRoute, tags=["payouts"])


class Retry(Document):
    """Where to send it, if not to the seller's own destination."""

    destination: Destination | None = None


@router.get("")
async def list_payouts(
    asked: Ask,
    limit: Limit = 20,
    starting_after: StartingAfter = None,
    status: PayoutStatus | None = None,
    party: Annotated[PartyId | None, Query()] = None,
) -> Page[PayoutView]:
    """Payouts, newest first."""
    own = asked.principal.party
    if own and party not in {None, own}:
        return Page(data=[], has_more=False)
    cut = listings.Cut(limit, starting_after, own or party)
    found, more = await run_in_threadpool(listings.parts, asked.engine, "payout", asked.tenant, cut, status)
    return Page(data=[_of(asked, escrow, one) for one, escrow in found], has_more=more)


@router.get("/{payout}")
async def get_payout(response: Response, asked: Ask, payout: str) -> PayoutView:
    """One payout as it stands; it is its seller's to see. The `ETag` is the escrow's."""
    escrow = await _escrow_of(asked, payout)
    found = _of(asked, escrow, payout)
    if asked.principal.party not in {None, found.party}:
        raise not_there("payout", payout)
    tag(response, escrow)
    return found


@router.post("/{payout}/retry", responses=COMMANDED)
async def retry_payout(
    request: Request, response: Response, asked: Ask, payout: str, body: Json[Retry] | None = None
) -> EscrowView:
    """Send a failed or returned payout again. Another destination is for the platform's operators to give, not for the
    seller, lest a stolen token send money elsewhere."""
    escrow = await _escrow_of(asked, payout)
    destination = body.destination if body else None
    if destination is not None:
        not_for_parties(asked, "another destination")
    return await commanded(
        request, response, asked, commands.RetryPayout, escrow.id, payout=payout, destination=destination
    )


async def _escrow_of(asked: Asked, payout: str) -> Escrow:
    return await escrow_with(asked, "payout", payout)


def _of(asked: Asked, escrow: Escrow, payout: str) -> PayoutView:
    return next(one for one in seen(asked, escrow).payouts if one.id == payout)
