"""What the books recorded of an escrow: settlements, ledger, audit, events.

Source: http-contract.md, "Routes" and "A settlement". Both sides may read its settlements and events;
its ledger and audit are the platform's.
"""

import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from pydantic import AwareDatetime, Field
from sqlalchemy import Engine, RowMapping
from starlette.concurrency import run_in_threadpool

from ledger import audit, records
from ledger.audit import AuditRow
from ledger.listings import Cut, cut_off
from models.commands import Actor, Role
from models.discretion import event_for, types_for
from models.rules.admission import PEOPLE
from starter.api.asking import Ask, Limit, StartingAfter, not_for_parties
from starter.api.commanding import visible_escrow
from starter.api.once import OnceRoute
from starter.api.problems import ProblemError
from starter.api.views import Page, View
from starter.reports.story import story_text

router = APIRouter(prefix="/v1/escrows/{escrow}", route_class=OnceRoute, tags=["records"])


class FxView(View):
    """A settlement in the reporting currency, at the rate of its moment; amounts in minor units of ``quote``."""

    rate: str
    quote: str
    as_of: date
    total: int
    platform_fee: int
    seller_payout: int
    buyer_refund: int


class SettlementView(View):
    """How a total was divided. ``dispute_fee`` is a part of ``platform_fee``.

    One that ``reverses`` another took its total back: ``fee_returned`` of it from the platform, the rest from the
    seller's payable, wallet and future earnings, which is not told to the buyer. ``command`` is told to the platform.
    """

    id: str
    escrow: str
    milestone: str | None
    dispute: str | None
    command: str | None
    outcome: Literal["release", "refund", "split", "partial_refund", "reversal"]
    reverses: str | None
    currency: str
    total: int
    platform_fee: int
    seller_payout: int
    buyer_refund: int
    dispute_fee: int
    fee_policy_version: int
    fee_rule: str
    fee_rate: Annotated[str | None, Field(description="None where several rates counted.")]
    fee_steps: list[str]
    projected_fee_returned: int
    projected_payout_reduced: int
    fee_returned: int
    from_payable: int | None
    from_wallet: int | None
    to_receivable: int | None
    fx: FxView | None
    created_at: AwareDatetime

    @classmethod
    def of(cls, row: RowMapping, role: Role) -> Self:
        """The view of a row for who asks. Tiers by volume show what the seller earns elsewhere, clawbacks what it owes,
        and a command's id is the key that somebody chose for it.
        """
        made = {"escrow", "command", "fee_rate", "fx"}
        known: dict[str, Any] = {name: row[name] for name in cls.model_fields if name not in made}
        if role == "buyer":
            known |= dict.fromkeys(("from_payable", "from_wallet", "to_receivable"))
            known["fee_steps"] = [] if "party_volume" in str(row["fee_steps"]) else row["fee_steps"]
        rate = None if row["fee_rate"] is None else f"{row['fee_rate']:f}"
        command = None if role in PEOPLE else row["command_id"]
        return cls(**known, escrow=row["escrow_id"], command=command, fee_rate=rate, fx=_fx(row))


class EntryView(View):
    """One debit or credit of one account, in minor units."""

    account: str
    owner: str
    direction: Literal["debit", "credit"]
    amount: int
    currency: str


class TransactionView(View):
    """Entries that were posted together: their debits are their credits."""

    id: str
    escrow: str
    command: str
    settlement: str | None
    memo: str
    posted_at: AwareDatetime
    recorded_at: AwareDatetime
    entries: list[EntryView]


class AuditView(View):
    """One command that was decided, with the columns' own names. ``details_text`` is what is hashed: docs/reports.md
    tells how to compute the chain again."""

    id: str
    position: int
    previous: str
    hash: str
    tenant_id: str
    escrow_id: str
    command_id: str
    name: str
    actor_role: str
    actor_party: str | None
    ip: str | None
    user_agent: str | None
    details: dict[str, Any]
    details_text: str
    outcome: str
    message: str | None
    before_version: int
    after_version: int
    received_at: str
    recorded_at: str

    @classmethod
    def of(cls, row: AuditRow) -> Self:
        """The view of a row."""
        known = {name: getattr(row, name) for name in row.__dataclass_fields__ if name != "details"}
        return cls(**known, details=json.loads(row.details), details_text=row.details)


class EventView(View):
    """Something that happened. ``sequence`` counts the tenant's events; None: not counted yet, or a party asks."""

    id: str
    type: str
    sequence: int | None
    timestamp: str
    tenant: str
    livemode: bool
    escrow: str | None
    version: int | None
    data: dict[str, Any]


@router.get("/settlements")
async def list_settlements(
    asked: Ask, escrow: str, limit: Limit = 20, starting_after: StartingAfter = None
) -> Page[SettlementView]:
    """An escrow's settlements, newest first."""
    found = await visible_escrow(asked, escrow)
    rows = await run_in_threadpool(records.settlements, asked.engine, found.id, Cut(limit, starting_after))
    page, more = cut_off(rows, limit)
    return Page(data=[SettlementView.of(row, asked.principal.actor.role) for row in page], has_more=more)


@router.get("/ledger")
async def list_transactions(
    asked: Ask, escrow: str, limit: Limit = 20, starting_after: StartingAfter = None
) -> Page[TransactionView]:
    """An escrow's ledger transactions with their entries, newest first."""
    not_for_parties(asked, "the ledger")
    found = await visible_escrow(asked, escrow)
    rows = await run_in_threadpool(records.transactions, asked.engine, found.id, Cut(limit, starting_after))
    page, more = cut_off(rows, limit)
    return Page(data=[TransactionView.model_validate(dict(row)) for row in page], has_more=more)


@router.get(
    "/audit",
    response_model=Page[AuditView],
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def list_audit(
    asked: Ask,
    escrow: str,
    limit: Limit = 20,
    starting_after: StartingAfter = None,
    form: Annotated[Literal["json", "text"], Query(alias="format")] = "json",
) -> Page[AuditView] | Response:
    """Every command on an escrow that was decided, newest first; as text the whole story, from its beginning."""
    not_for_parties(asked, "the audit")
    found = await visible_escrow(asked, escrow)
    if form == "text":
        return PlainTextResponse(await run_in_threadpool(_story, asked.engine, found.id))
    rows = await run_in_threadpool(records.audit_rows, asked.engine, found.id, Cut(limit, starting_after))
    page, more = cut_off(rows, limit)
    return Page(data=[AuditView.of(row) for row in page], has_more=more)


@router.get("/events")
async def list_escrow_events(
    asked: Ask, escrow: str, limit: Limit = 20, starting_after: StartingAfter = None
) -> Page[EventView]:
    """What happened to an escrow, newest first; to a buyer or seller what concerns them."""
    found = await visible_escrow(asked, escrow)
    rows = await run_in_threadpool(_told, asked.engine, found.id, asked.principal.actor, Cut(limit, starting_after))
    page, more = cut_off(rows, limit)
    return Page(data=[EventView.model_validate(one) for one in page], has_more=more)


def _told(engine: Engine, escrow: str, actor: Actor, cut: Cut) -> list[dict[str, Any]]:
    """Up to ``limit + 1`` events as their actor may read them, however many others are between them."""
    told: list[dict[str, Any]] = []
    types = types_for(actor.role)
    uncounted = {"sequence": None} if actor.role in PEOPLE else {}  # its gaps tell how busy the others are
    while True:
        rows = records.escrow_events(engine, escrow, cut, types)
        for row in rows:
            data = event_for(actor.role, actor.party, row.type, row.data)
            if data is not None:
                told.append(row.document() | {"data": data} | uncounted)
        if len(told) > cut.limit or len(rows) <= cut.limit:
            return told[: cut.limit + 1]
        cut = Cut(cut.limit, rows[-1].id)


def _story(engine: Engine, escrow: str) -> str:
    found = audit.story(engine, escrow, chain_only=True)
    if found is None:
        raise ProblemError(404, f"there is no escrow {escrow}")
    return story_text(found)


def _fx(row: RowMapping) -> FxView | None:
    """None for what was settled before there were exchange rates."""
    if row["fx_rate"] is None:
        return None
    names = ("quote", "as_of", "total", "platform_fee", "seller_payout", "buyer_refund")
    return FxView(rate=_plain(row["fx_rate"]), **{name: _whole(row[f"fx_{name}"]) for name in names})


def _whole(value: Any) -> Any:
    """PostgreSQL keeps these amounts as decimals, since they may exceed 64 bits."""
    return int(value) if isinstance(value, Decimal) else value


def _plain(rate: Decimal) -> str:
    written = f"{rate:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
