"""What a tenant writes down beforehand: policies and milestone templates; and what a fee would come to.

Source: http-contract.md, "Routes" and "A fee policy"; domain.md, sections 5 to 9.
"""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import AwareDatetime, Field
from starlette.concurrency import run_in_threadpool

from ledger import listings, quotes, tenants, terms
from ledger.listings import Cut
from models.fee_policies import FeePolicy, Outcome, Payer
from models.fields import Amount, Category, Currency, Document, PartyId, Share
from models.money import Money
from models.policies import POLICY_KINDS, CompliancePolicy, DisputePolicy, ReleasePolicy, SpendPolicy
from models.templates import TEMPLATES, Template, TemplateMilestone
from starter.api.asking import Ask, Json, Limit, StartingAfter, not_for_parties, own_party
from starter.api.once import Asked, OnceRoute, ReadRoute
from starter.api.problems import ProblemError
from starter.api.views import Page, View

router = APIRouter(prefix="/v1", route_class=OnceRoute, tags=["policies"])
questions = APIRouter(prefix="/v1", route_class=ReadRoute, tags=["policies"])


class PolicyView(View):
    """A version of a policy; ``document`` as it was written, with what was left out filled in."""

    kind: str
    version: int
    document: dict[str, Any]
    created_at: AwareDatetime


class TemplateView(View):
    """How a kind of deal is usually divided: percentages of the amount, days from the event."""

    name: str
    milestones: list[TemplateMilestone]
    built_in: bool


class Question(Document):
    """What would be settled. ``seller`` counts where tiers go by what a seller was released; ``seller_share`` belongs
    to a split."""

    outcome: Outcome = "release"
    category: Category = "general"
    amount: Amount
    currency: Currency
    seller: PartyId | None = None
    seller_share: Share | None = None


class QuoteView(View):
    """A division in minor units, under the names that a settlement has. It is paid by the ``payer``."""

    outcome: Outcome
    category: str
    currency: str
    total: int
    platform_fee: int
    seller_payout: int
    buyer_refund: int
    payer: Payer
    fee_policy_version: int
    fee_rule: str
    fee_rate: Annotated[str | None, Field(description="None where several rates count.")]
    fee_steps: list[str]


@router.post("/policies/fees", status_code=201)
async def write_fee_policy(asked: Ask, body: Json[FeePolicy]) -> PolicyView:
    """Write a new version of what the platform takes, in force at once."""
    return await _written(asked, "fees", body)


@router.post("/policies/release", status_code=201)
async def write_release_policy(asked: Ask, body: Json[ReleasePolicy]) -> PolicyView:
    """Write a new version of how milestones are released and paid out, in force at once."""
    return await _written(asked, "release", body)


@router.post("/policies/dispute", status_code=201)
async def write_dispute_policy(asked: Ask, body: Json[DisputePolicy]) -> PolicyView:
    """Write a new version of how long disputes may rest, in force at once."""
    return await _written(asked, "dispute", body)


@router.post("/policies/spend", status_code=201)
async def write_spend_policy(asked: Ask, body: Json[SpendPolicy]) -> PolicyView:
    """Write a new version of what buyers' wallets must keep, in force at once."""
    return await _written(asked, "spend", body)


@router.post("/policies/compliance", status_code=201)
async def write_compliance_policy(asked: Ask, body: Json[CompliancePolicy]) -> PolicyView:
    """Write a new version of when a party has to be verified, in force at once."""
    return await _written(asked, "compliance", body)


@router.get("/policies/{kind}")
async def get_policy(asked: Ask, kind: str) -> PolicyView:
    """The version that is in force; 404 while none was written, saying what holds by `default`."""
    return await _read(asked, kind, None)


@router.get("/policies/{kind}/{version}")
async def get_policy_version(asked: Ask, kind: str, version: Annotated[int, Path(ge=1, lt=2**31)]) -> PolicyView:
    """A version of a policy: each is kept for ever."""
    return await _read(asked, kind, version)


@router.post("/templates", status_code=201)
async def write_template(asked: Ask, body: Json[Template]) -> TemplateView:
    """Write a milestone template, or replace the one of that name; escrows keep what they agreed on."""
    not_for_parties(asked, "a template")
    await run_in_threadpool(tenants.put_template, asked.engine, asked.tenant, body)
    return _template(body)


@router.get("/templates")
async def list_templates(asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None) -> Page[TemplateView]:
    """Milestone templates by name: the tenant's own, newest first, then those that are built in."""
    cut = Cut(limit, starting_after)
    found = await run_in_threadpool(terms.templates, asked.engine, asked.tenant, cut)
    page, more = listings.cut_off(found, limit)
    return Page(data=[_template(one) for one in page], has_more=more)


@questions.post("/fee-quotes")
async def quote_fee(asked: Ask, body: Json[Question]) -> QuoteView:
    """The exact division that would be settled now, with its steps. Nothing is changed, so it needs no key."""
    if body.seller is not None:
        own_party(asked, body.seller)
    amount = Money(body.amount, body.currency)
    found = await run_in_threadpool(
        quotes.quote,
        asked.engine,
        asked.tenant,
        body.outcome,
        body.category,
        amount,
        body.seller,
        body.seller_share,
    )
    division = found.division
    return QuoteView(
        outcome=body.outcome,
        category=body.category,
        currency=body.currency,
        total=division.total.amount,
        platform_fee=division.platform_fee.amount,
        seller_payout=division.seller_payout.amount,
        buyer_refund=division.buyer_refund.amount,
        payer=found.payer,
        fee_policy_version=found.policy_version,
        fee_rule=found.rule,
        fee_rate=_plain(found.rate),
        fee_steps=list(found.steps),
    )


async def _written(asked: Asked, kind: str, document: Document) -> PolicyView:
    not_for_parties(asked, "a policy")
    version = await run_in_threadpool(tenants.put_policy, asked.engine, asked.tenant, kind, document)
    return await _read(asked, kind, version)


async def _read(asked: Asked, kind: str, version: int | None) -> PolicyView:
    not_for_parties(asked, "a policy")
    if kind not in POLICY_KINDS:
        raise ProblemError(404, f"there is no policy of that kind: there are {', '.join(sorted(POLICY_KINDS))}")
    found = await run_in_threadpool(terms.policy, asked.engine, asked.tenant, kind, version)
    if found is None:
        raise _never_written(kind, version)
    return PolicyView(**found)


def _never_written(kind: str, version: int | None) -> ProblemError:
    if version is not None:
        return ProblemError(404, f"there is no version {version} of the {kind} policy")
    if kind == "fees":
        return ProblemError(404, "no fee policy was written: until there is one, nothing can be released or returned")
    default = POLICY_KINDS[kind]().model_dump(mode="json")
    return ProblemError(404, f"no {kind} policy was written: the default holds", default=default)


def _template(template: Template) -> TemplateView:
    return TemplateView(name=template.name, milestones=list(template.milestones), built_in=template.name in TEMPLATES)


def _plain(rate: Decimal | None) -> str | None:
    return None if rate is None else f"{rate:f}"
