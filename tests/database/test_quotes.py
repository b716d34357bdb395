"""A quote is what would be settled now, to the unit, and leaves no trace."""

from decimal import Decimal

import pytest

from ledger import reads, tenants
from ledger.quotes import quote
from models.commands import Complete
from models.errors import RefusedError
from models.money import Money
from models.states import State
from tests.builders import new_id
from tests.market import Market

TIERS = {
    "rules": [
        {
            "outcome": "release",
            "tiers": {
                "mode": "graduated",
                "basis": "party_volume",
                "bands": [{"from": 0, "rate": "0.20"}, {"from": 60000, "rate": "0.10"}],
            },
            "fixed": 30,
        }
    ]
}


def test_a_quote_is_what_a_release_of_that_moment_settles(market: Market) -> None:
    """Tiers by the seller's volume included: the second release of 50,000 crosses the boundary at 60,000."""
    tenants.put_policy(market.engine, market.tenant, "fees", tenants.parse_policy("fees", TIERS))
    for expected in (10000 + 30, 2000 + 4000 + 30):
        quoted = quote(market.engine, market.tenant, "release", "general", Money(50000, "EUR"), seller="bob")
        escrow = market.at(State.IN_PROGRESS, amount=50000, milestones=())
        market.do(Complete, escrow)
        (settled,) = reads.settlements(market.engine, escrow.id)
        parts = (quoted.division.platform_fee, quoted.division.seller_payout, quoted.division.buyer_refund)
        assert tuple(part.amount for part in parts) == (
            settled["platform_fee"],
            settled["seller_payout"],
            settled["buyer_refund"],
        )
        assert (settled["platform_fee"], quoted.steps) == (expected, tuple(settled["fee_steps"]))
        assert settled["fee_policy_version"] == quoted.policy_version


def test_a_quote_writes_nothing(market: Market) -> None:
    """Not a row of any table that a settlement writes."""
    before = reads.trial_balance(market.engine, market.tenant)
    quoted = quote(market.engine, market.tenant, "split", "general", Money(100000, "EUR"), seller_share=Decimal("0.7"))
    assert quoted.division.seller_payout.amount == 63000
    assert reads.trial_balance(market.engine, market.tenant) == before
    assert reads.volume(market.engine, market.tenant, "bob", "EUR") == 0


def test_a_quote_for_an_unknown_tenant_or_without_a_rule_is_refused(market: Market) -> None:
    """The same refusals as the real thing."""
    with pytest.raises(RefusedError, match="there is no tenant"):
        quote(market.engine, new_id("ten"), "release", "general", Money(1, "EUR"))
    tenants.put_policy(market.engine, market.tenant, "fees", tenants.parse_policy("fees", TIERS))
    with pytest.raises(RefusedError, match="there is no fee rule for outcome 'refund'"):
        quote(market.engine, market.tenant, "refund", "general", Money(1, "EUR"))
