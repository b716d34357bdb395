"""The parts of what is sent that are documents of their own. Dates and durations may be written as Python's."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TypedDict


class _MilestoneNeeds(TypedDict):
    title: str
    amount: int


class MilestoneDraft(_MilestoneNeeds, total=False):
    """A part of an escrow to be; ``amount`` in minor units."""

    description: str
    due: date | str


class _EvidenceNeeds(TypedDict):
    name: str


class EvidenceDraft(_EvidenceNeeds, total=False):
    """One piece of evidence: a name, and where or what it is."""

    url: str
    sha256: str
    note: str


class PayoutDraft(TypedDict, total=False):
    """When the seller is paid what was released, where it differs from the policy."""

    trigger: str
    clearance: timedelta | str
    minimum: int
    retry_after: timedelta | str
    retries: int


class ReleaseDraft(TypedDict, total=False):
    """How milestones are released, where it differs from the policy."""

    mode: str
    review_window: timedelta | str
    reminders: Sequence[timedelta | str]
    evidence_required: bool
    max_rejections: int
    payout: PayoutDraft
