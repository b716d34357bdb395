"""Escrows, and what they are made of."""

from datetime import date, datetime, timedelta
from typing import Any

from holdfast_client.answers.record import Record


class Evidence(Record):
    """One piece of evidence: a name, and where or what it is."""

    name: str
    url: str | None = None
    sha256: str | None = None
    note: str | None = None


class DisputeAnswer(Record):
    """What was added to a dispute, and by which side."""

    by: str
    at: datetime
    statement: str | None = None
    evidence: list[Evidence]


class Milestone(Record):
    """A part of an escrow. ``reversed`` of its amount went back before its release, ``clawed`` after it."""

    id: str
    escrow: str
    position: int
    title: str
    description: str | None
    amount: int
    reversed: int
    clawed: int
    due: date | None
    status: str
    evidence: list[Evidence]
    rejection: str | None
    rejections: int
    created_at: datetime


class Dispute(Record):
    """A disagreement. ``amount`` is what it froze, ``answers`` what was added to it since."""

    id: str
    escrow: str
    raised_by: str
    reason: str
    description: str
    evidence: list[Evidence]
    answers: list[DisputeAnswer]
    milestones: list[str]
    amount: int
    status: str
    resolution: str | None
    details: str | None
    resolved_by: str | None
    created_at: datetime


class Deadline(Record):
    """When something happens by itself unless somebody is faster."""

    id: str
    kind: str
    milestone: str | None = None
    dispute: str | None = None
    payout: str | None = None
    generation: int
    due_at: datetime
    deferred_because: str | None = None


class Payout(Record):
    """Money on its way to a seller. ``hold`` and ``reason`` say why it waits, or why it did not arrive."""

    id: str
    escrow: str
    settlement: str
    milestones: list[str]
    party: str
    destination: str | None
    amount: int
    currency: str
    status: str
    generation: int
    reference: str | None
    reason: str | None
    hold: str | None
    ready_at: datetime | None
    netted: int
    created_at: datetime


class Chargeback(Record):
    """Money that the payer's bank took back, or wants to."""

    id: str
    kind: str
    reference: str
    reason: str | None = None
    amount: int
    frozen: int
    surcharge: int = 0
    disputed: int = 0
    status: str


class PayoutTerms(Record):
    """When a seller is paid what was released."""

    trigger: str
    clearance: timedelta | None
    minimum: int
    retry_after: timedelta
    retries: int


class Release(Record):
    """How an escrow's milestones are released."""

    mode: str
    review_window: timedelta
    reminders: list[timedelta]
    evidence_required: bool
    max_milestones: int
    max_rejections: int
    payout: PayoutTerms
    max_rate_age: timedelta


class Escrow(Record):
    """One agreement between a buyer and a seller. ``allowed`` are the events that are legal now.

    ``surcharge`` is what the buyer added for the fee, ``contested`` has a chargeback that is open, ``charged_back`` is
    gone to the payer's bank for good.
    """

    id: str
    buyer: str
    seller: str
    amount: int
    currency: str
    category: str
    title: str
    state: str
    version: int
    allowed: list[str]
    funded: int
    held: int
    disputed: int
    released: int
    refunded: int
    refundable: int
    surcharge: int
    contested: int
    charged_back: int
    milestones: list[Milestone]
    disputes: list[Dispute]
    deadlines: list[Deadline]
    payouts: list[Payout]
    chargebacks: list[Chargeback]
    release: Release
    attention: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
