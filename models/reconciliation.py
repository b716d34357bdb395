"""The provider's books beside ours, and how they differ. Source: architecture.md; docs/reconciliation.md.

Amounts are signed minor units as the account ``gateway_cash`` counts them: what arrived is above zero.
"""

from typing import Literal

from pydantic import AwareDatetime, Field

from models.charges import ChargeOrder
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
    "misdirected",
    "late",
    "unknown_outcome",
    "not_running",
    "behind",
    "stuck",
    "unsound",
]
"""Why two sides do not agree.

``missing_here``: the provider moved it and our books do not have it. ``missing_there``: the other way round.
``amount_differs``: both have it, once, with another amount or currency. ``duplicate``: one side has it more often than
the other. ``misdirected``: a payout went to another account than it was meant for. ``late``: one side alone has it, but
only just: the other may follow. ``unknown_outcome``: we asked the provider for it and do not know what became of it.
``not_running``, ``behind``, ``stuck``: an escrow has no workflow, one that has not seen the books' last version, or one
that workers cannot go on with. ``unsound``: the books contradict themselves.
"""


class ProviderLine(Document):
    """One movement of the provider's balance. ``subject`` is our name of it: a charge's id, a payout's key
    (``pay_…:1``), the provider's reference of a contested payment; None where it names nothing of ours. ``key`` is our
    key of the operation that it belongs to: of a contested payment, the charge's id; ``destination`` whose account a
    payout went to. A ``currency`` in small letters is none that we know, with amounts in the provider's own units."""

    id: str
    type: str
    kind: MovementKind
    amount: int
    fee: int
    currency: str
    source: str | None = None
    subject: str | None = None
    key: str | None = None
    destination: str | None = None
    created_at: AwareDatetime


class Difference(Document):
    """Something that does not agree. ``since``: when the first of the two sides booked it; ``remedy`` is for people."""

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

    ``fees`` is what the provider's fees did to its balance, so below zero when it kept some. ``theirs - fees - ours``
    is the sum of ``explained`` and ``unexplained``: the first are contested payments that a bank has not decided
    (``contested``), and what moved while the provider was read (``moved_meanwhile``); the second is the sum of
    ``theirs - ours`` over the open differences with the provider.
    """

    currency: str
    theirs: int
    ours: int
    fees: int
    explained: dict[str, int]
    unexplained: int


class Reading(Document):
    """How far the provider's statement is read: every line from ``since`` (None: ever) to ``read_up_to``, the newest
    first. ``after`` is the last line that was read, until it is ``done``; ``balances`` are what the provider holds
    then, and ``moved`` what the lines sum up to that it has written since, where they are all that is between the two.
    ``in_full``: all lines ever were read for this round, so there is no use in doing so again."""

    round: str
    provider: str
    since: AwareDatetime | None = None
    read_up_to: AwareDatetime | None = None
    after: str | None = None
    done: bool = False
    pages: int = 0
    balances: dict[str, int] = Field(default_factory=dict)
    moved: dict[str, int] = Field(default_factory=dict)
    in_full: bool = False


class Agreement(Document):
    """What comparing with the provider came to, in numbers; what does not agree is written down as differences."""

    round: str = ""
    lines: int = 0
    matched: int = 0
    balances: tuple[Balance, ...] = ()


class Strays(Document):
    """What of the books no workflow looks after: ``escrows`` were looked at, ``found`` of them and of the pending
    charges are differences. The escrows of ``asleep`` and the orders of ``charges``, which are sealed, are to be given
    a workflow now, at most some hundred at a time."""

    round: str = ""
    escrows: int = 0
    found: int = 0
    asleep: tuple[str, ...] = ()
    charges: tuple[ChargeOrder, ...] = ()


class Reconciliation(Document):
    """One round of comparing. ``found`` counts by cause what does not agree at its end, ``healed`` is how many
    differences it saw mended. ``lines`` are the provider's movements that are known, ``matched`` how many subjects
    (charges, payouts …) agree, ``escrows`` how many that are not over were compared with their workflows. ``asked`` is
    how many things it had looked into at the provider, ``started`` how many workflows it started or woke.
    """

    id: str
    provider: str
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    read_up_to: AwareDatetime | None = None
    failed: str | None = None
    lines: int = 0
    matched: int = 0
    escrows: int = 0
    found: dict[str, int] = Field(default_factory=dict)
    healed: int = 0
    asked: int = 0
    started: int = 0
    balances: tuple[Balance, ...] = ()


class Finished(Document):
    """What a round did, for the books; ``failed`` says what of it could not be done."""

    round: str
    read_up_to: AwareDatetime | None = None
    failed: str | None = None
    agreement: Agreement = Agreement()
    escrows: int = 0
    asked: int = 0
    started: int = 0


class Correction(Document):
    """New balanced entries for what a difference moved: ``amount`` is by how much ``gateway_cash`` rises.

    ``ours`` and ``theirs`` are what the difference said when it was proposed; ``transaction`` is where it was booked.
    """

    id: str
    difference: str
    tenant: str
    amount: int
    currency: str
    ours: int | None = None
    theirs: int | None = None
    reason: str
    needs_approval: bool
    proposed_by: str
    proposed_at: AwareDatetime
    status: Literal["proposed", "booked", "rejected"]
    decided_by: str | None = None
    decided_at: AwareDatetime | None = None
    decided_why: str | None = None
    transaction: str | None = None
