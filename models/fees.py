"""The platform's fee, computed at release from the policy in force. Source: domain.md, section 5."""

from dataclasses import dataclass
from decimal import Decimal

from models.errors import ErrorCode, RefusedError
from models.fee_policies import FeeRule, Outcome
from models.money import Money
from models.policies import Policies


@dataclass(frozen=True)
class Fee:
    """A rate found in a policy, and where it was found."""

    rate: Decimal
    policy_version: int
    rule: str

    def on(self, base: Money) -> Money:
        """The fee on an amount, rounded half-up once: 150000 at 10 % is 15000, 335 at 10 % is 34."""
        return base.times(self.rate)

    def steps(self, base: Money) -> tuple[str, ...]:
        """How the fee came about, for the settlement."""
        return (
            f"fee policy version {self.policy_version}, rule {self.rule}, rate {self.rate}",
            f"{self.rate} x {base.amount} = {self.on(base).amount} (rounded half-up)",
        )


def find_fee(policies: Policies, outcome: Outcome, category: str) -> Fee:
    """Find the rule for an outcome: the exact category wins over ``*``.

    Raises ``RefusedError`` (fee_policy_not_found) when the tenant has no rule for it.
    """
    rules = policies.fees.rules if policies.fees else ()
    for wanted in (category, "*"):
        for rule in rules:
            if (rule.outcome, rule.category) == (outcome, wanted):
                return Fee(rule.rate, policies.fees_version or 0, f"{rule.outcome}/{rule.category}")
    raise RefusedError(
        ErrorCode.FEE_POLICY_NOT_FOUND,
        f"there is no fee rule for outcome {outcome!r} and category {category!r}: add one to the fee policy and retry",
        outcome=outcome,
        category=category,
        rules=[_name(rule) for rule in rules],
    )


def _name(rule: FeeRule) -> str:
    return f"{rule.outcome}/{rule.category}"
