"""Money, and what was recorded of it. Rates are decimals, amounts minor units."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from holdfast_client.answers.record import Record


class Wallet(Record):
    """A party's money in one currency: ``balance`` is what is ``available`` and what is ``locked`` in its escrows."""

    party: str
    currency: str
    balance: int
    locked: int
    available: int


class Charge(Record):
    """A charge for a wallet. ``unknown``: the gateway has not said yet."""

    id: str
    party: str
    amount: int
    currency: str
    status: str
    reason: str | None


class Rate(Record):
    """What one unit of ``base`` is worth in ``quote``. ``id`` is the pair."""

    id: str
    base: str
    quote: str
    rate: Decimal
    as_of: date
    source: str


class Policy(Record):
    """A version of a policy; ``document`` as it was written, with what was left out filled in."""

    kind: str
    version: int
    document: dict[str, Any]
    created_at: datetime


class TemplateMilestone(Record):
    """A part of a deal of that kind: ``percent`` of the amount, ``days`` from the event."""

    title: str
    title_th: str | None = None
    percent: Decimal
    days: int = 0


class Template(Record):
    """How a kind of deal is usually divided."""

    name: str
    milestones: list[TemplateMilestone]
    built_in: bool


class Quote(Record):
    """What would be settled. ``fee_rate`` is None where several rates count."""

    outcome: str
    category: str
    currency: str
    total: int
    platform_fee: int
    seller_payout: int
    buyer_refund: int
    payer: str
    fee_policy_version: int
    fee_rule: str
    fee_rate: Decimal | None
    fee_steps: list[str]


class Fx(Record):
    """A settlement in the reporting currency, at the rate of its moment; amounts in minor units of ``quote``."""

    rate: Decimal
    quote: str
    as_of: date
    total: int
    platform_fee: int
    seller_payout: int
    buyer_refund: int


class Settlement(Record):
    """How a total was divided. ``dispute_fee`` is a part of ``platform_fee``; one that ``reverses`` another took its
    total back. What is None is not told to the buyer, and ``command`` to neither side."""

    id: str
    escrow: str
    milestone: str | None
    dispute: str | None
    command: str | None
    outcome: str
    reverses: str | None
    currency: str
    total: int
    platform_fee: int
    seller_payout: int
    buyer_refund: int
    dispute_fee: int
    fee_policy_version: int
    fee_rule: str
    fee_rate: Decimal | None
    fee_steps: list[str]
    projected_fee_returned: int
    projected_payout_reduced: int
    fee_returned: int
    from_payable: int | None
    from_wallet: int | None
    to_receivable: int | None
    fx: Fx | None
    created_at: datetime


class Entry(Record):
    """One debit or credit of one account."""

    account: str
    owner: str
    direction: str
    amount: int
    currency: str


class Transaction(Record):
    """Entries that were posted together: their debits are their credits."""

    id: str
    escrow: str
    command: str
    settlement: str | None
    memo: str
    posted_at: datetime
    recorded_at: datetime
    entries: list[Entry]


class AuditRow(Record):
    """One command that was decided. Everything that is hashed is text, as it is in the chain."""

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


class Check(Record):
    """A sum that has to agree with another one: the difference is zero."""

    says: str
    currency: str
    difference_minor: int


class Report(Record):
    """A report of one's own books. In ``rows`` money stands in major units (a decimal string) and, as ``…_minor``, in
    minor units; ``ties`` says whether every check agrees."""

    report: str
    tenant: str
    by: str
    rows: list[dict[str, Any]]
    checks: list[Check]
    ties: bool
