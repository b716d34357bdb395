"""Whose money may not move, why, and what lifts it. Source: domain.md, section 12.

The built-in rules: thresholds of the tenant's compliance policy above which a party has to be verified, and parties
that are blocked. They read what is known of the party; where that comes from is the screening's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from models.errors import ErrorCode, RefusedError
from models.facts import Party
from models.money import Money
from models.policies import CompliancePolicy

_REFUSALS: Final = MappingProxyType({"blocked": ErrorCode.PARTY_BLOCKED, "kyc": ErrorCode.KYC_REQUIRED})


@dataclass(frozen=True)
class Objection:
    """Why a party's money may not move now. ``code`` is also the hold of a payout that it keeps waiting.

    ``reason`` and ``lifted_by`` are sentences for people; ``details`` go into the refusal.
    """

    code: Literal["blocked", "kyc"]
    party: str
    reason: str
    lifted_by: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def refusal(self) -> RefusedError:
        """The refusal (party_blocked, kyc_required) where it is not a payout that can wait."""
        return RefusedError(_REFUSALS[self.code], self.reason, party=self.party, **self.details)


def objection_to_moving(role: Literal["buyer", "seller"], party: str, known: Party) -> Objection | None:
    """A blocked party's money freezes: nothing of its escrows is funded, released, refunded or taken back."""
    if known.blocked_because is None:
        return None
    return _blocked(party, known.blocked_because, f"the {role} is blocked, no money of the escrow moves")


def objection_to_funding(policy: CompliancePolicy, amount: Money, buyer: str, known: Party) -> Objection | None:
    """What is to be held, the fee that the buyer adds included, needs a verified buyer above the threshold.

    Above EUR 1,000.00 (100000): 100000 needs nobody verified, 100001 does. No threshold is never, 0 is always.
    """
    limit = policy.verified_above.funding
    if limit is None or amount.amount <= limit or known.kyc_status == "verified":
        return None
    above = Money(limit, amount.currency)
    return Objection(
        "kyc",
        buyer,
        f"funding above {above} needs a buyer who is verified; this one is {known.kyc_status}",
        _verification(buyer),
        {"kyc_status": known.kyc_status, "verified_above": limit},
    )


def objection_to_payout(policy: CompliancePolicy, amount: Money, seller: str, known: Party) -> Objection | None:
    """What is to be sent needs a verified seller above the threshold, and one who is not blocked whatever the amount.

    Above EUR 1,000.00 (100000) the payout of a release of 150000 at 10 %, 135000, waits for a seller whose
    verification has expired since; one of 100000 goes. A block comes first: verification would not lift it.
    """
    if known.blocked_because is not None:
        return _blocked(seller, known.blocked_because, "the seller is blocked")
    limit = policy.verified_above.payout
    if limit is None or amount.amount <= limit or known.kyc_status == "verified":
        return None
    above = Money(limit, amount.currency)
    return Objection(
        "kyc",
        seller,
        f"above {above} the seller has to be verified, and is {known.kyc_status}",
        _verification(seller),
        {"kyc_status": known.kyc_status, "verified_above": limit},
    )


def _blocked(party: str, because: str, what: str) -> Objection:
    lifted_by = f"unblocking {party}: by whoever blocked, or a screening that takes its own block back"
    return Objection("blocked", party, f"{what}: {because}", lifted_by, {"reason": because})


def _verification(party: str) -> str:
    return f"{party} being verified (kyc_status verified), or a threshold that is not below the amount"
