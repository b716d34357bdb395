"""What a party may read of a refusal, an escrow and an event; the platform's servers and operators read all of it.

A party never reads why compliance has blocked somebody, since that may name a suspicion. The buyer reads nothing of how
the seller is paid beyond how far it is: no account, no verification, no debt that was netted.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from models.commands import Role
from models.errors import ErrorCode, Refusal
from models.escrow import Deadline, Escrow, Hold, Payout
from models.rules.admission import PEOPLE
from models.states import PayoutStatus

FROZEN: Final = "this money cannot move at the moment; please contact support"
ON_HOLD: Final = "the payout is on hold; please contact support"
DECLINED: Final = "the charge was declined; try another payment method"
_UNVERIFIED: Final = "a party has to be verified first"
_DELAYED: Final = "the payout has not arrived yet"

# Holds whose reason a side may read: what is about the seller's own person or purse is for the seller.
_TOLD: Final[MappingProxyType[str, frozenset[Hold]]] = MappingProxyType(
    {
        "buyer": frozenset({"clearance", "manual", "chargeback"}),
        "seller": frozenset({"clearance", "manual", "chargeback", "minimum", "kyc"}),
    }
)
# What each side reads of an event's data, by its type. A new type or field is for nobody until it is listed here, and a
# test holds this against every event that there is. What people wrote is among it only where notifications tell it.
_TO_BOTH: Final = {
    "escrow.created": "amount currency",
    "escrow.amended": "amount",
    "escrow.started": "",
    "escrow.completed": "",
    "escrow.cancelled": "reason",
    "escrow.refunded": "reason",
    "milestone.added": "milestone amount",
    "milestone.changed": "milestone amount",
    "milestone.submitted": "milestone generation",
    "milestone.withdrawn": "milestone",
    "milestone.approved": "milestone amount",
    "milestone.auto_approved": "milestone amount",
    "milestone.rejected": "milestone reason",
    "milestone.reversed": "milestone amount reason",
    "milestone.clawed_back": "milestone amount reason",
    "milestone.reminder_due": "milestone",
    "dispute.opened": "dispute amount milestones",
    "dispute.evidence_added": "dispute by",
    "dispute.under_review": "dispute",
    "dispute.resolved": "dispute resolution",
    "dispute.defaulted": "dispute resolution",
    "dispute.closed": "dispute",
    "settlement.posted": "settlement outcome total",
    "chargeback.opened": "chargeback kind amount frozen reason",
    "chargeback.won": "chargeback amount",
    "chargeback.lost": "chargeback amount",
    "receivable.recorded": "party amount reason",  # whose it is, and nobody else
    "receivable.netted": "party amount",
}
# Not ``payout.due``: that it is due again would tell the buyer that it was held.
_TO_BUYER: Final = {
    "escrow.funded": "amount source",
    "payout.held": "payout hold reason",  # as far as the buyer may know of the hold
    "payout.sent": "payout",
    "payout.paid": "payout",
    "payout.unknown": "payout",
    "payout.failed": "payout",
    "payout.returned": "payout",
    "payout.cancelled": "payout",
}
_TO_SELLER: Final = {
    "escrow.funded": "amount",
    "payout.due": "payout amount",
    "payout.held": "payout amount hold reason",
    "payout.sent": "payout amount",
    "payout.paid": "payout amount",
    "payout.unknown": "payout amount",
    "payout.failed": "payout amount reason",
    "payout.returned": "payout amount reason",
    "payout.cancelled": "payout amount reason",
}
_READ: Final[MappingProxyType[str, Mapping[str, str]]] = MappingProxyType(
    {"buyer": _TO_BOTH | _TO_BUYER, "seller": _TO_BOTH | _TO_SELLER}
)
_OWED: Final = frozenset({"receivable.recorded", "receivable.netted"})
# Whoever sent a command was told that it was refused; what was put off says so itself, as far as each side may know.
FOR_THE_PLATFORM: Final = frozenset({"deadline.deferred", "command.refused", "webhook_endpoint.disabled"})

_IN_TROUBLE: Final = frozenset({PayoutStatus.FAILED, PayoutStatus.RETURNED, PayoutStatus.UNKNOWN})


def refusal_for(role: Role, refusal: Refusal) -> Refusal:
    """The refusal as somebody in that role may read it: the same code, and where the reason is not theirs, no details.

    ``the seller is blocked, no money of the escrow moves: Fraud.`` becomes ``this money cannot move at the moment``.
    """
    if role not in PEOPLE:
        return refusal
    if refusal.code == ErrorCode.PARTY_BLOCKED.code:
        return Refusal(code=refusal.code, message=FROZEN)
    if refusal.code == ErrorCode.PAYMENT_DECLINED.code:  # a gateway's words name a risk score, a rule, a request
        return Refusal(code=refusal.code, message=DECLINED)
    if refusal.code == ErrorCode.PAYOUT_HELD.code and refusal.details.get("hold") not in _TOLD[role]:
        return Refusal(code=refusal.code, message=ON_HOLD)
    if refusal.code == ErrorCode.KYC_REQUIRED.code and role == "seller":  # it is the buyer, who funds
        return Refusal(code=refusal.code, message=_UNVERIFIED)
    return refusal


def escrow_for(role: Role, escrow: Escrow) -> Escrow:
    """The escrow as somebody in that role may read it, its ``attention`` included.

    It is for showing only: no command may be decided on it.
    """
    if role not in PEOPLE:
        return escrow
    own = getattr(escrow, role)
    others = {payout.id for payout in escrow.payouts if payout.party != own}
    return escrow.model_copy(
        update={
            "payouts": tuple(_of_other(one) if one.id in others else _own(role, one) for one in escrow.payouts),
            "deadlines": tuple(_deadline(role, one) for one in escrow.deadlines if one.payout not in others),
        }
    )


def types_for(role: Role) -> frozenset[str] | None:
    """The types of the events of which somebody in that role reads anything; None: all that there are."""
    return frozenset(_READ[role]) if role in PEOPLE else None


def event_for(role: Role, party: str | None, type: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:  # noqa: A002 - as events name it
    """What that ``party`` in that role may read of an event's data; None: nothing, not even that it happened.

    Of ``payout.paid`` with ``{"payout": "pay_1", "amount": 130000}`` the buyer reads ``{"payout": "pay_1"}``.
    """
    if role not in PEOPLE:
        return data
    if type not in _READ[role] or (type in _OWED and data.get("party") != party):
        return None
    fields = _READ[role][type].split()
    told = {name: value for name, value in data.items() if name in fields}
    if type != "payout.held" or data.get("hold") in _TOLD[role]:
        return told
    if role == "buyer":
        return None
    return {name: value for name, value in told.items() if name != "hold"} | {"reason": ON_HOLD}


def _own(role: Role, payout: Payout) -> Payout:
    if payout.hold is None or payout.hold in _TOLD[role]:
        return payout
    return payout.model_copy(update={"reason": ON_HOLD})


def _of_other(payout: Payout) -> Payout:
    """What is said of a payout to the side that does not get it; a new field stays unsaid until it is listed here.

    Of 135000 that were earned, 5000 were owed and 130000 are sent: the other side reads 135000.
    """
    hold = payout.hold if payout.hold in _TOLD["buyer"] else None
    cancelled = payout.status == PayoutStatus.CANCELLED  # then what was netted last is still part of the amount
    return Payout(
        id=payout.id,
        settlement=payout.settlement,
        milestones=payout.milestones,
        party=payout.party,
        destination=None,
        amount=max(payout.amount, payout.netted) if cancelled else payout.amount + payout.netted,
        status=payout.status,
        generation=payout.generation,
        reason=payout.reason if hold else _DELAYED if payout.status in _IN_TROUBLE else None,
        hold=hold,
        ready_at=payout.ready_at if hold == "clearance" else None,
    )


def _deadline(role: Role, deadline: Deadline) -> Deadline:
    """A deadline that was put off says ``code: message`` of the refusal that it met."""
    if deadline.deferred_because is None:
        return deadline
    code, _, message = deadline.deferred_because.partition(": ")
    told = refusal_for(role, Refusal(code=code, message=message))
    return deadline.model_copy(update={"deferred_because": f"{told.code}: {told.message}"})
