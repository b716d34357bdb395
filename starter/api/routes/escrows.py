"""Escrows: agreeing, funding, working, ending. Source: http-contract.md, "Routes"."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from ledger import listings
from models import commands
from models.errors import RefusedError
from models.fields import Amount, Category, Currency, Document, Line, Metadata, PartyId, PaymentMethod, Text
from models.states import State
from starter.api.asking import Ask, Json, Limit, StartingAfter
from starter.api.commanding import COMMANDED, command, commanded, discreet, new_id, pending, seen, visible_escrow
from starter.api.once import OnceRoute
from starter.api.views import EscrowView, Page, tag
from starter.arrival import OutcomeUnknownError

router = APIRouter(prefix="/v1/escrows", route_class=OnceRoute, tags=["escrows"])


class NewEscrow(Document):
    """An agreement. Milestones are listed, or come from a template and the date of the event.

    With neither, all of it is released on completion.
    """

    buyer: PartyId
    seller: PartyId
    amount: Amount
    currency: Currency
    category: Category = "general"
    title: Line
    milestones: Annotated[tuple[commands.MilestoneDraft, ...], Field(max_length=20)] = ()
    template: Category | None = None
    event_date: date | None = None
    release: commands.ReleaseOverride = commands.ReleaseOverride()
    metadata: Metadata = Field(default_factory=dict)

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "buyer": "alice",
                "seller": "bob",
                "amount": 500000,
                "currency": "EUR",
                "category": "web",
                "title": "Website redesign",
                "milestones": [
                    {"title": "Design & mockups", "amount": 150000, "due": "2026-12-01"},
                    {"title": "Frontend", "amount": 200000},
                    {"title": "Backend & testing", "amount": 150000},
                ],
                "release": {"mode": "auto", "review_window": "P14D"},
                "metadata": {"order": "A-1"},
            }
        }
    )


class Amendment(Document):
    """What is to be changed, before funding."""

    title: Line | None = None
    amount: Amount | None = None
    milestones: Annotated[tuple[commands.MilestoneDraft, ...], Field(max_length=20)] | None = None


class Funding(Document):
    """Where the money comes from: the buyer's wallet, or a payment method that the gateway charges."""

    source: Literal["wallet", "gateway"] = "wallet"
    payment_method: PaymentMethod | None = None


class Reason(Document):
    """Why, in the words of whoever asks for it."""

    reason: Text | None = None


class Refunding(Reason):
    """Everything before work starts. ``amount``, if given, must be what is refundable."""

    amount: Amount | None = None


@router.post("", status_code=201, responses=COMMANDED)
async def create_escrow(request: Request, response: Response, asked: Ask, body: Json[NewEscrow]) -> EscrowView:
    """Agree on an escrow: state `created`, version 1. No money moves."""
    identifier = new_id("esc", asked)
    said = {name: getattr(body, name) for name in body.model_fields_set}
    try:
        escrow = await command(request, asked, commands.Create, identifier, tenant=asked.tenant, **said)
    except OutcomeUnknownError as error:
        return pending(asked, error)  # type: ignore[return-value]
    except RefusedError as error:
        raise discreet(asked, error) from error
    tag(response, escrow)
    response.headers["Location"] = f"/v1/escrows/{escrow.id}"
    return seen(asked, escrow)


@router.get("")
async def list_escrows(
    asked: Ask,
    limit: Limit = 20,
    starting_after: StartingAfter = None,
    state: State | None = None,
    buyer: Annotated[PartyId | None, Query()] = None,
    seller: Annotated[PartyId | None, Query()] = None,
) -> Page[EscrowView]:
    """Escrows, newest first."""
    cut = listings.Cut(limit, starting_after, asked.principal.party)
    found, more = await run_in_threadpool(listings.escrows, asked.engine, asked.tenant, cut, state, buyer, seller)
    return Page(data=[seen(asked, one) for one in found], has_more=more)


@router.get("/{escrow}")
async def get_escrow(response: Response, asked: Ask, escrow: str) -> EscrowView:
    """One escrow as it stands."""
    found = await visible_escrow(asked, escrow)
    tag(response, found)
    return seen(asked, found)


@router.put("/{escrow}", responses=COMMANDED)
async def amend_escrow(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[Amendment]
) -> EscrowView:
    """Change title, amount or milestones, only in `created`: funding is acceptance."""
    said = body.model_dump(exclude_none=True, include={"title", "amount"})
    milestones = {} if body.milestones is None else {"milestones": body.milestones}
    return await commanded(request, response, asked, commands.Amend, escrow, **said, **milestones)


@router.post("/{escrow}/fund", responses=COMMANDED)
async def fund_escrow(request: Request, response: Response, asked: Ask, escrow: str, body: Json[Funding]) -> EscrowView:
    """Put the whole amount in escrow, from the buyer's wallet or by a payment method."""
    return await commanded(request, response, asked, commands.Fund, escrow, **dict(body))


@router.post("/{escrow}/start", responses=COMMANDED)
async def start_work(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[Reason] | None = None
) -> EscrowView:
    """The seller begins."""
    del body  # a reason is taken, as for the others, and not kept
    return await commanded(request, response, asked, commands.StartWork, escrow)


@router.post("/{escrow}/complete", responses=COMMANDED)
async def complete_escrow(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[Reason] | None = None
) -> EscrowView:
    """Release all that is still held."""
    del body
    return await commanded(request, response, asked, commands.Complete, escrow)


@router.post("/{escrow}/cancel", responses=COMMANDED)
async def cancel_escrow(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[Reason] | None = None
) -> EscrowView:
    """End the escrow: what is held returns to the buyer, the seller keeps what was approved."""
    return await commanded(request, response, asked, commands.Cancel, escrow, reason=body.reason if body else None)


@router.post("/{escrow}/refund", responses=COMMANDED)
async def refund_escrow(
    request: Request, response: Response, asked: Ask, escrow: str, body: Json[Refunding] | None = None
) -> EscrowView:
    """Return everything before work starts."""
    said = dict(body) if body else {}
    return await commanded(request, response, asked, commands.Refund, escrow, **said)
