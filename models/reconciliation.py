"""The provider's books beside ours, and how they differ. Source: architecture.md; docs/reconciliation.md.

Amounts are signed minor units as the account ``gateway_cash`` counts them: what arrived is above zero.
"""

from typing import Literal

from pydantic import AwareDatetime

from models.fields import Document

MovementKind = Literal["charge", "payout", "payout_return", "contested", "other"]
"""What moved a provider's balance: a buyer's charge; a payout, or one that came back; a payment that its payer's bank
contests or could not collect after all; anything else (the provider's own fees, the platform's own bank)."""

Compared = Literal["provider", "workflows", "books"]
"""The ledger with the provider's balance transactions, with the states of workflows, and with itself."""

Cause = Literal[
    "missing_here",
    "missing_there",
    "amount_differs",
    "duplicate",
    "late",
    "unknown_outcome",
    "not_running",
    "behind",
    "unsound",
]
"""Why two sides do not agree.

``missing_here``: the provider moved it and our books do not have it. ``missing_there``: the other way round.
``amount_differs``: both have it, once, with another amount or currency. ``duplicate``: one side has it more often than
the other. ``late``: one side alone has it, but only just: the other may follow. ``unknown_outcome``: we asked the
provider for it and do not know what became of it. ``not_running``, ``behind``: an escrow has no workflow, or one that
has not seen the books' last version. ``unsound``: the books contradict themselves.
"""


class ProviderLine(Document):
    """One movement of the provider's balance. ``subject`` is our name of it: a charge's id, a payout's key
    (``pay_…:1``), the provider's reference of a contested payment; None where it names nothing of ours."""

    id: str
    type: str
    kind: MovementKind
    amount: int
    fee: int
    currency: str
    source: str | None = None
    subject: str | None = None
    created_at: AwareDatetime


class Difference(Document):
    """Something that does not agree. ``since`` is when the first of the two sides booked it; ``remedy`` is for people."""

    id: str
    provider: str
    compared: Compared
    cause: Cause
    kind: MovementKind | None = None
    subject: str
    tenant: str | None = None
    escrow: str | None = None
    ours: int | None = None
    theirs: int | None = None
    currency: str | None = None
    since: AwareDatetime
    says: str
    remedy: str
    first_seen: AwareDatetime
    last_seen: AwareDatetime
    status: Literal["open", "healed", "corrected"]
    closed_at: AwareDatetime | None = None
    closed_why: str | None = None


class Balance(Document):
    """One currency: the provider's own balance, our ``gateway_cash``, and what explains that they are not the same.

    ``theirs - fees - ours`` is the sum of ``explained`` (such as contested payments that a bank has not decided) and
    ``unexplained``, which is what the open differences are about.
    """

    currency: str
    theirs: int
    ours: int
    fees: int
    explained: dict[str, int]
    unexplained: int


class Reconciliation(Document):
    """One round of comparing. ``found`` counts what does not agree by cause, ``healed`` what this round saw mended."""

    id: str
    provider: str
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    read_up_to: AwareDatetime | None = None
    failed: str | None = None
    lines: int = 0
    matched: int = 0
    escrows: int = 0
    found: dict[str, int] = {}
    healed: int = 0
    balances: tuple[Balance, ...] = ()


class Correction(Document):
    """New balanced entries for what a difference moved: ``amount`` is by how much ``gateway_cash`` rises."""

    id: str
    difference: str
    tenant: str
    amount: int
    currency: str
    reason: str
    needs_approval: bool
    proposed_by: str
    proposed_at: AwareDatetime
    status: Literal["proposed", "booked", "rejected"]
    decided_by: str | None = None
    decided_at: AwareDatetime | None = None
    decided_why: str | None = None
    transaction: str | None = None
