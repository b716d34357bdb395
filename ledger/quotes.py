"""What a release, refund, split or reversal would come to now: the code that settles, and nothing written."""

from decimal import Decimal
from typing import Final

from sqlalchemy import Engine, text

from models import quotes
from models.errors import ErrorCode, RefusedError
from models.fee_policies import FeePolicy, Outcome
from models.fees import Standing
from models.money import Money
from models.policies import Policies
from models.quotes import Quote

_FACTS: Final = """
SELECT fees.version, fees.document::text AS document,
       coalesce((SELECT released FROM party_volume
                 WHERE (tenant_id, party, currency) = (t.id, :seller, :currency)), 0) AS volume
FROM tenant t
LEFT JOIN LATERAL (SELECT version, document FROM policy WHERE tenant_id = t.id AND kind = 'fees'
                   ORDER BY version DESC LIMIT 1) fees ON true
WHERE t.id = :tenant
"""


def quote(
    engine: Engine,
    tenant: str,
    outcome: Outcome,
    category: str,
    amount: Money,
    seller: str | None = None,
    seller_share: Decimal | None = None,
) -> Quote:
    """The division of an amount (minor units) under the tenant's newest fee policy, as a deal of that amount in one go.

    With a ``seller``, tiers by volume count what that seller was released so far. ``seller_share`` belongs to a split.
    Raises ``RefusedError`` (not_found, fee_policy_not_found, invalid_command).
    """
    with engine.connect() as connection:
        parameters = {"tenant": tenant, "seller": seller, "currency": amount.currency}
        facts = connection.execute(text(_FACTS), parameters).first()
    if facts is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")
    fees = FeePolicy.model_validate_json(facts.document) if facts.document else None
    standing = Standing(amount, Money(0, amount.currency), Money(facts.volume, amount.currency))
    policies = Policies(fees=fees, fees_version=facts.version)
    return quotes.quote(policies, outcome, category, amount, standing, seller_share)
