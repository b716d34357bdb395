"""Exchange rates in force, and telling one. Source: http-contract.md, "Routes"; domain.md, section 10."""

from datetime import date
from typing import Self

from fastapi import APIRouter
from pydantic import ConfigDict
from starlette.concurrency import run_in_threadpool

from ledger import rates
from models.exchange import Rate
from models.fields import Line
from starter.api.asking import Ask, Json, Limit, StartingAfter, not_for_parties, operators_only
from starter.api.once import OnceRoute
from starter.api.views import Page, View

router = APIRouter(prefix="/v1/exchange-rates", route_class=OnceRoute, tags=["exchange rates"])


class ToldRate(Rate):
    """What one unit of ``base`` is worth in ``quote``, on the day ``as_of``; ``source`` says who says so."""

    source: Line = "operator"

    model_config = ConfigDict(
        json_schema_extra={"example": {"base": "EUR", "quote": "USD", "rate": "1.08", "as_of": "2026-11-20"}}
    )


class RateView(View):
    """What one unit of ``base`` is worth in ``quote``. ``id`` is the pair."""

    id: str
    base: str
    quote: str
    rate: str
    as_of: date
    source: str

    @classmethod
    def of(cls, rate: Rate) -> Self:
        """The view of a rate."""
        return cls(id=f"{rate.base}-{rate.quote}", **rate.model_dump(mode="json"))


@router.get("")
async def list_rates(asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None) -> Page[RateView]:
    """The newest rate of every pair, the tenant's own in place of everyone's: newest first, then by pair."""
    not_for_parties(asked, "the list of exchange rates")
    found = [RateView.of(one) for one in await run_in_threadpool(rates.listed, asked.engine, asked.tenant)]
    found.sort(key=lambda one: (-one.as_of.toordinal(), one.id))
    place = next((place for place, one in enumerate(found, start=1) if one.id == starting_after), len(found))
    rest = found[place if starting_after else 0 :]
    return Page(data=rest[:limit], has_more=len(rest) > limit)


@router.put("")
async def put_rate(asked: Ask, body: Json[ToldRate]) -> RateView:
    """Tell a rate. Rates are added, never changed: of several days the newest counts. For operators."""
    operators_only(asked, "an exchange rate")
    await run_in_threadpool(rates.put_rate, asked.engine, asked.tenant, body)
    return RateView.of(body)
