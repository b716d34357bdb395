"""What would be settled now, before anything moves: the same code that settles. Source: domain.md, section 5."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from models import divisions
from models.divisions import Division
from models.errors import ErrorCode, RefusedError
from models.fee_policies import Outcome, Payer
from models.fees import Fee, Standing, find_fee
from models.money import Money
from models.policies import Policies


@dataclass(frozen=True)
class Quote:
    """A division and how it came about; ``rule`` is a name like ``release/web``, ``rate`` None for several bands."""

    division: Division
    steps: tuple[str, ...]
    policy_version: int
    rule: str
    rate: Decimal | None
    payer: Payer


def quote(
    policies: Policies,
    outcome: Outcome,
    category: str,
    amount: Money,
    standing: Standing | None = None,
    seller_share: Decimal | None = None,
) -> Quote:
    """The division of an amount (minor units) under the policy in force.

    150000 at 10 % is 15000 / 135000 / 0 of 150000; paid by the buyer 15000 / 150000 / 0 of 165000, with what the buyer
    would have added for it. ``seller_share`` belongs to a split and only there. Raises ``RefusedError``
    (fee_policy_not_found, invalid_command).
    """
    fee = find_fee(policies, outcome, category, standing)
    division = _divide(outcome, amount, fee, seller_share)
    return Quote(division, fee.steps(amount), fee.policy_version, fee.name, fee.rate, fee.payer)


def surcharge(policies: Policies, category: str, plan: Sequence[Money], standing: Standing) -> Money:
    """What the buyer adds at funding for the fees of the planned releases, each milestone and then the rest.

    150000, 200000 and 150000 at 10 % paid by the buyer is 50000, by both 25000, by the seller or without a release rule
    0. Each release is counted with those before it released, since that is how its fee will be computed.
    """
    added = Money(0, standing.deal.currency)
    if policies.fees is None or policies.fees.rule("release", category) is None:
        return added
    for release in plan:
        fee = find_fee(policies, "release", category, standing)
        added += fee.parts(fee.on(release))[0]
        standing = standing.after(release)
    return added


def _divide(outcome: Outcome, amount: Money, fee: Fee, seller_share: Decimal | None) -> Division:
    if (seller_share is not None) != (outcome == "split"):
        rule = "needs a seller_share" if outcome == "split" else "takes no seller_share"
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"a quote for outcome {outcome} {rule}")
    added = fee.parts(fee.on(amount))[0]
    if seller_share is not None:
        if not 0 <= seller_share <= 1:
            raise RefusedError(ErrorCode.INVALID_COMMAND, f"seller_share {seller_share} is not from 0 to 1")
        return divisions.split(amount, fee, seller_share, added)
    if outcome == "release":
        return divisions.release(amount, fee, added)
    if outcome == "refund":
        return divisions.refund(amount, fee)
    return divisions.reversal(Money(0, amount.currency), amount, fee)
