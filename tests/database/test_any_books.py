"""Whatever anyone tries, through the real books: a check finds nothing wrong, and every report ties."""

from datetime import timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ledger import reports, tenants
from ledger.audit import verify
from ledger.reports import Span
from models.commands import (
    ApproveMilestone,
    CloseChargeback,
    OpenChargeback,
    RaiseDispute,
    ResolveDispute,
    ReverseMilestone,
    ReviewDispute,
)
from models.policies import Policies
from models.states import State
from starter.reports import sheets
from tests.builders import PATHS, Deal, order, policies
from tests.market import Market
from tests.servers import Servers
from tests.unit.test_properties import FEES, STEPS, Step, command_of


def a_market(servers: Servers, policies: Policies) -> Market:
    """A tenant with these policies."""
    market = Market(servers.engine, fees=None)
    for kind, policy in (("fees", policies.fees), ("release", policies.release), ("dispute", policies.dispute)):
        if policy is not None:
            tenants.put_policy(market.engine, market.tenant, kind, policy)
    return market


@settings(
    deadline=None,
    max_examples=15,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(policies=FEES, stories=st.lists(STEPS, min_size=2, max_size=2))
def test_books_stay_whole_and_reports_tie(servers: Servers, policies: Policies, stories: list[list[Step]]) -> None:
    """Clawbacks, chargebacks, dispute fees, surcharges, payouts that return: no story makes a false alarm."""
    market, ahead = a_market(servers, policies), timedelta(0)
    for steps in stories:
        deal = Deal(market.create(amount=300, milestones=(100, 100, 99)), policies)
        for kind in PATHS[State.IN_PROGRESS]:
            market.apply(order(kind, deal.escrow))
            deal.escrow = market.escrow(deal.escrow)
        for step in steps:
            ahead += step.wait
            tenants.move_clock(market.engine, market.tenant, ahead)
            market.apply(command_of(step, deal))
            deal.escrow = market.escrow(deal.escrow)
            deal.now = deal.escrow.updated_at
    assert verify(market.engine, market.tenant).findings == []
    for make in (sheets.liquidity, sheets.trial_balance, sheets.fees, sheets.settlements):
        assert make(market.engine, market.tenant, Span(by="day")).ties
    earned = sum(line.earned for line in reports.fees(market.engine, market.tenant, Span()).lines)
    assert earned == market.balance("fee_revenue", "platform") + market.balance("dispute_fee_revenue", "platform")


def test_a_deal_to_which_everything_happens_is_reported_as_it_was(servers: Servers) -> None:
    """A clawback, a dispute fee that is owed, a chargeback lost of more than is held: of EUR 5,000 at 10 %."""
    market = a_market(servers, policies("0.10", dispute_fee={"amount": 1500, "payer": "loser"}))
    escrow = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    escrow = market.do(ReverseMilestone, escrow, amount=50000)
    escrow = market.do(RaiseDispute, escrow, milestones=(2,))
    escrow = market.do(ReviewDispute, escrow)
    escrow = market.do(ResolveDispute, escrow, resolution="seller_favor")
    escrow = market.do(OpenChargeback, escrow, amount=300000)
    assert verify(market.engine, market.tenant).whole
    escrow = market.do(CloseChargeback, escrow, outcome="lost")
    assert verify(market.engine, market.tenant).findings == []
    lines = {line.outcome: line for line in reports.fees(market.engine, market.tenant, Span()).lines}
    assert {name: (one.platform_fees, one.dispute_fees, one.returned) for name, one in lines.items()} == {
        "release": (35000, 1500, 0),
        "clawback": (0, 0, 5000),
        "chargeback": (0, 0, 15000),
    }
    sheet = sheets.settlements(market.engine, market.tenant, Span())
    assert {row["outcome"]: (row["total"], row["fee_returned"]) for row in sheet.rows} == {
        "release": (350000, 0),
        "clawback": (50000, 5000),
    }
    (line,) = reports.liquidity(market.engine, market.tenant, Span())
    assert (line.difference, line.balances["gateway_cash"]) == (0, 10**9 - 300000)
