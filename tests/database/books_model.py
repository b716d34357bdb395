"""What the books should say: plain records and a dict of balances, kept by ``books_rules`` from domain.md alone.

Nothing here may come from ``models``. A moment is the tenant's hours since the story began and the number of the step,
since every step takes a little real time: of two moments of one hour the later step is later.
"""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

Moment = tuple[Fraction, int]
Account = tuple[str, str, str]

DEBIT_NORMAL: Final = {"gateway_cash", "receivable", "platform_loss"}
FLOORED: Final = {"wallet", "escrow_hold", "disputed_funds", "payable", "payout_in_transit", "chargeback_hold",
                   "receivable"}  # fmt: skip
UNSENT: Final = {"due", "failed", "returned"}
OPEN: Final = {"pending", "submitted", "rejected"}
FREED: Final = {"approved", "paid"}
ENDED: Final = {"completed", "cancelled", "refunded"}
GATEWAY: Final = "stripe"

# domain.md, 3: what is possible in a state, and where it leads when nothing else has a say.
TABLE: Final[dict[str, dict[str, str]]] = {
    "created": {"fund": "funded", "cancel": "cancelled"},
    "funded": {"start_work": "in_progress", "cancel": "cancelled", "refund": "refunded", "dispute": "disputed"},
    "in_progress": {
        "submit_milestone": "milestone_pending", "complete": "completed", "dispute": "disputed", "cancel": "cancelled",
    },
    "milestone_pending": {
        "approve_milestone": "milestone_approved", "reject_milestone": "in_progress",
        "submit_milestone": "milestone_pending", "dispute": "disputed",
    },
    "milestone_approved": {
        "submit_milestone": "milestone_pending", "complete": "completed", "dispute": "disputed", "cancel": "cancelled",
    },
    # In a dispute its resolution is the only way to refund or complete: domain.md, 8.
    "disputed": {
        "resolve_dispute": "", "submit_milestone": "disputed", "approve_milestone": "disputed",
        "reject_milestone": "disputed",
    },
    "completed": {}, "cancelled": {}, "refunded": {},
}  # fmt: skip


@dataclass(eq=False)
class Part:
    """A milestone."""

    id: str
    amount: int
    due: Fraction | None = None
    status: str = "pending"
    reversed: int = 0
    clawed: int = 0
    rounds: int = 0
    rejections: int = 0

    @property
    def left(self) -> int:
        """What is still to be released."""
        return self.amount - self.reversed


@dataclass(eq=False)
class Freed:
    """What one settlement released: of ``principal`` the platform took ``fee``, ``added`` of it from the buyer."""

    parts: list[Part]
    principal: int
    fee: int
    added: int
    rate: Fraction = Fraction(1)
    taken: int = 0
    returned: int = 0

    @property
    def reachable(self) -> int:
        """What can still be taken back."""
        return self.principal - self.taken


@dataclass(eq=False)
class Claim:
    """A payout."""

    freed: Freed
    amount: int
    destination: str | None
    ready: Moment | None
    id: str = ""
    status: str = "due"
    generation: int = 1
    hold: str | None = None
    requested: bool = False
    enough: bool = False

    @property
    def waits(self) -> bool:
        """Whether it is carried forward."""
        return self.status == "due" and self.hold == "minimum"


@dataclass(eq=False)
class Quarrel:
    """A dispute."""

    parts: list[Part]
    amount: int
    added: int
    status: str
    came_from: str
    id: str = ""
    heard: set[str] = field(default_factory=set)

    @property
    def contested_parts(self) -> list["Part"]:
        """The milestones it is still about: a lost chargeback may have taken others."""
        return [part for part in self.parts if part.status == "disputed"]


@dataclass(eq=False)
class Contest:
    """A chargeback."""

    kind: str
    reference: str
    amount: int
    frozen: int
    added: int
    disputed: int
    status: str = "open"


@dataclass(eq=False)
class Alarm:
    """A deadline about a part, a claim or a quarrel."""

    kind: str
    about: Part | Claim | Quarrel
    at: Moment


@dataclass(eq=False)
class Deal:
    """An escrow. What it holds is in the balances; this is the rest."""

    id: str
    buyer: str
    seller: str
    amount: int
    currency: str
    category: str
    terms: dict[str, Any]
    parts: list[Part] = field(default_factory=list)
    state: str = "created"
    version: int = 1
    funded: int = 0
    released: int = 0
    refunded: int = 0
    lost: int = 0
    added: int = 0
    pinned: int | None = None
    quarrels: list[Quarrel] = field(default_factory=list)
    contests: list[Contest] = field(default_factory=list)
    freed: list[Freed] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    settled: list[tuple[str, int, int, int, int, int]] = field(default_factory=list)

    def part(self, identifier: str) -> Part:
        """The milestone with that id."""
        return next(part for part in self.parts if part.id == identifier)

    def claim(self, identifier: str) -> Claim:
        """The payout with that id."""
        return next(claim for claim in self.claims if claim.id == identifier)

    @property
    def open_parts(self) -> list[Part]:
        """Milestones whose money is held and not frozen."""
        return [part for part in self.parts if part.status in OPEN]

    @property
    def quarrel(self) -> Quarrel | None:
        """The dispute that freezes money now."""
        return next((one for one in self.quarrels if one.status in {"open", "under_review"}), None)

    @property
    def contest(self) -> Contest | None:
        """The chargeback that is open."""
        return next((one for one in self.contests if one.status == "open"), None)

    def hush(self, *about: Part | Claim | Quarrel) -> None:
        """Drop the alarms about these."""
        self.alarms = [alarm for alarm in self.alarms if not any(alarm.about is one for one in about)]

    def submitted(self) -> bool:
        """Whether any milestone is under review."""
        return any(part.status == "submitted" for part in self.parts)


@dataclass(eq=False)
class Person:
    """A party."""

    destination: str | None = None
    invalid: str | None = None
    kyc: str = "none"
    blocked: bool = False


@dataclass(eq=False)
class World:
    """A tenant: balances on their normal side, deals, people and the policies in force."""

    balances: Counter[Account] = field(default_factory=Counter)
    deals: dict[str, Deal] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    volume: Counter[tuple[str, str]] = field(default_factory=Counter)
    fees: list[dict[str, Any]] = field(default_factory=list)
    terms: dict[str, Any] = field(default_factory=dict)
    charged: int = 0
    dispute: dict[str, Any] = field(default_factory=dict)
    reserve: dict[str, int] = field(default_factory=dict)
    wallet_gate: bool = False
    verified_above: dict[str, int | None] = field(default_factory=dict)
    rates: dict[str, tuple[Fraction, int]] = field(default_factory=dict)
    hours: Fraction = Fraction(0)
    step: int = 0

    @property
    def now(self) -> Moment:
        """This step's moment."""
        return self.hours, self.step

    def of(self, kind: str, owner: str, currency: str) -> int:
        """A balance."""
        return self.balances[kind, owner, currency]

    def held(self, deal: Deal) -> int:
        """What is held and releasable, with what the buyer added for the fee."""
        return self.of("escrow_hold", deal.id, deal.currency)

    def principal(self, deal: Deal) -> int:
        """What is held of the deal's own amount."""
        return self.held(deal) - deal.added

    def left(self, deal: Deal) -> int:
        """What is held or frozen in a dispute."""
        return self.held(deal) + self.of("disputed_funds", deal.id, deal.currency)

    def post(self, currency: str, *legs: tuple[str, str, int]) -> None:
        """Change balances on their normal sides; debits and credits have to be equal, and no floor is broken."""
        assert sum(-units if kind in DEBIT_NORMAL else units for kind, _, units in legs) == 0, legs
        for kind, owner, units in legs:
            self.balances[kind, owner, currency] += units
            assert kind not in FLOORED or self.balances[kind, owner, currency] >= 0, f"the model broke {kind} {owner}"

    def rate(self, deal: Deal) -> Fraction:
        """Cents of the reporting currency for one unit of the deal's: euro, and yen without decimals."""
        return Fraction(1) if deal.currency == "EUR" else self.rates[deal.currency][0] * 100

    def fee_policy(self, deal: Deal) -> dict[str, Any] | None:
        """The version that was pinned at funding, or the one in force."""
        if deal.pinned is not None:
            return self.fees[deal.pinned]
        return self.fees[-1] if self.fees else None
