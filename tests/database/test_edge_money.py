"""The edge cases of money through the real books: tiers, versions, rates, clawbacks, funding from the gateway."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import RowMapping

from ledger import rates, reads, tenants
from models.charges import ChargeOrder, ChargeResult, charge_of
from models.commands import (
    Amend,
    ApproveMilestone,
    Command,
    Complete,
    Fund,
    ReachDeadline,
    ReverseMilestone,
    StartWork,
    SubmitMilestone,
)
from models.escrow import Escrow
from models.exchange import Rate
from models.outcome import Outcome
from models.policies import ReleasePolicy, SpendPolicy
from models.states import MilestoneStatus, State
from tests.builders import OPERATOR, order
from tests.market import GATEWAY, Market
from tests.servers import Servers

TODAY = datetime.now(UTC).date()
ROUNDS = 15
TWO_BANDS = [{"from": 0, "rate": "0.20"}, {"from": 50000, "rate": "0.10"}]


def write_fees(market: Market, rule: dict[str, Any], **policy: Any) -> int:
    """Write a fee policy with this rule for releases, refunds and reversals free; answers its version."""
    free = [{"outcome": outcome, "rate": "0"} for outcome in ("refund", "reversal")]
    document = {"rules": [{"outcome": "release"} | rule, *free], **policy}
    return tenants.put_policy(market.engine, market.tenant, "fees", tenants.parse_policy("fees", document))


def tell_rate(market: Market, base: str, figure: str, age: int = 0) -> None:
    """The tenant's own rate to EUR, some days old."""
    as_of = TODAY - timedelta(days=age)
    rate = Rate(base=base, quote="EUR", rate=Decimal(figure), as_of=as_of, source="bank")
    rates.put_rate(market.engine, market.tenant, rate)


def settled(market: Market, escrow: Escrow) -> Sequence[RowMapping]:
    """The settlements of an escrow, in order."""
    return reads.settlements(market.engine, escrow.id)


def at_work(market: Market, amount: int, *, seller: str = "bob", **fields: Any) -> Escrow:
    """An escrow with that seller, funded and begun."""
    escrow = market.do(Fund, market.create(amount=amount, milestones=(), seller=seller, **fields))
    return market.do(StartWork, escrow, by=OPERATOR)


def at_once(market: Market, *commands: Command) -> list[Outcome]:
    """Apply commands on threads and connections of their own, let go at the same instant."""
    start = Barrier(len(commands))

    def run(command: Command) -> Outcome:
        start.wait()
        return market.apply(command)

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(run, commands))


@pytest.mark.parametrize(("mode", "together"), [("graduated", 5000), ("whole_volume", 6000)])
def test_edge_24_two_releases_of_one_seller_at_once_count_each_unit_of_volume_once(
    market: Market, mode: str, together: int
) -> None:
    """After 40000, two releases of 20000 meet the boundary of 50000, and in whichever order one sees the other.

    Graduated, the first pays 2000 and 1000, the other 2000; at one rate for all the first pays 4000, the other 2000.
    Two that did not see each other would pay 6000 and 8000.
    """
    write_fees(market, {"tiers": {"mode": mode, "basis": "party_volume", "bands": TWO_BANDS}})
    for number in range(ROUNDS):
        seller = f"bob-{number}"
        market.do(Complete, at_work(market, 40000, seller=seller))
        rivals = [at_work(market, 20000, seller=seller) for _ in range(2)]
        outcomes = at_once(market, *(order(Complete, one) for one in rivals))
        assert [outcome.refusal for outcome in outcomes] == [None, None]
        assert sum(settled(market, one)[0]["platform_fee"] for one in rivals) == together
        assert reads.volume(market.engine, market.tenant, seller, "EUR") == 80000


def test_edge_24_volume_is_one_sellers_of_one_tenant_in_one_currency(market: Market) -> None:
    """What others sell, or the same seller in another currency or for another marketplace, opens no band."""
    other = Market(market.engine)
    for one in (market, other):
        write_fees(one, {"tiers": {"mode": "whole_volume", "basis": "party_volume", "bands": TWO_BANDS}})
    market.do(Complete, at_work(market, 90000, seller="carol"))
    other.do(Complete, at_work(other, 90000))
    market.top_up(10**6, currency="USD")
    tell_rate(market, "USD", "0.92")
    market.do(Complete, at_work(market, 90000, currency="USD"))
    for expected in (12000, 6000):
        escrow = at_work(market, 60000)
        market.do(Complete, escrow)
        assert settled(market, escrow)[0]["platform_fee"] == expected


def test_edge_24_a_clawback_does_not_bring_a_seller_back_below_the_boundary(market: Market) -> None:
    """The volume is what was released; that some went back later does not raise the next fee."""
    write_fees(market, {"tiers": {"mode": "whole_volume", "basis": "party_volume", "bands": TWO_BANDS}})
    escrow = market.at(State.MILESTONE_APPROVED, amount=60000, milestones=(60000,))
    market.do(ReverseMilestone, escrow, amount=60000)
    after = at_work(market, 10000)
    market.do(Complete, after)
    assert settled(market, after)[0]["platform_fee"] == 1000


def test_edge_24_two_releases_of_one_escrow_in_one_transaction_count_each_unit_of_volume_once(market: Market) -> None:
    """After an outage two windows that ended are handled together: 40000 at 20 % and then 40000 of which 30000 are
    above the boundary, 8000 and 5000.
    """
    write_fees(market, {"tiers": {"mode": "graduated", "basis": "party_volume", "bands": TWO_BANDS}})
    escrow = market.at(State.MILESTONE_PENDING, amount=80000, milestones=(40000, 40000))
    escrow = market.do(SubmitMilestone, escrow, milestone=2)
    tenants.move_clock(market.engine, market.tenant, timedelta(days=15))
    market.apply(order(ReachDeadline, escrow))
    assert market.escrow(escrow).released == 80000
    assert [row["platform_fee"] for row in settled(market, escrow)] == [8000, 5000]
    assert reads.volume(market.engine, market.tenant, "bob", "EUR") == 80000


def test_edge_23_pinned_at_funding_the_version_of_then_prices_every_release(market: Market) -> None:
    """Another version comes while it is funded: the settlement names the old one, and the next escrow the new one."""
    first = write_fees(market, {"rate": "0.10"}, pin_at="funding")
    escrow = market.at(State.MILESTONE_PENDING)
    second = write_fees(market, {"rate": "0.12"}, pin_at="funding")
    for milestone in (1, 2):
        if milestone == 2:
            escrow = market.do(SubmitMilestone, escrow, milestone=2)
        escrow = market.do(ApproveMilestone, escrow, milestone=milestone)
    rows = [(row["fee_policy_version"], row["platform_fee"]) for row in settled(market, escrow)]
    assert rows == [(first, 15000), (first, 20000)]
    later = market.at(State.MILESTONE_APPROVED)
    assert (settled(market, later)[0]["fee_policy_version"], settled(market, later)[0]["platform_fee"]) == (
        second,
        18000,
    )


def test_edge_23_by_default_the_version_of_the_release_prices_it(market: Market) -> None:
    """And one release of the same escrow can name another version than the one before."""
    first = write_fees(market, {"rate": "0.10"})
    escrow = market.at(State.MILESTONE_APPROVED)
    second = write_fees(market, {"rate": "0.12"})
    market.do(Complete, escrow)
    rows = [(row["fee_policy_version"], row["platform_fee"]) for row in settled(market, escrow)]
    assert rows == [(first, 15000), (second, 42000)]


def unmoved(market: Market, escrow: Escrow, command: Command, code: str) -> None:
    """Apply a command that has to be refused with a hope for later, and nothing may have moved."""
    held = market.balance("escrow_hold", escrow.id, escrow.currency)
    refusal = market.apply(command).refusal
    assert refusal is not None
    assert (refusal.code, refusal.kind.retry_may_help) == (code, True)
    assert market.escrow(escrow) == escrow
    assert market.balance("escrow_hold", escrow.id, escrow.currency) == held
    assert settled(market, escrow) == []


@pytest.mark.parametrize("age", [None, 8])
def test_edge_26_without_a_rate_or_with_a_stale_one_nothing_moves_and_a_retry_works_once_there_is_one(
    market: Market, age: int | None
) -> None:
    """Rials are reported in euro: no rate, or one of eight days ago where seven are allowed, refuses the release."""
    market.top_up(10**6, currency="OMR")
    escrow = market.at(State.MILESTONE_PENDING, currency="OMR")
    if age is not None:
        tell_rate(market, "OMR", "2.40", age)
    unmoved(market, escrow, order(ApproveMilestone, escrow), "exchange_rate_unavailable")
    tell_rate(market, "OMR", "2.40", 7)
    assert market.do(ApproveMilestone, escrow).released == 150000
    (row,) = settled(market, escrow)
    assert (row["fx_rate"], row["fx_quote"], row["fx_as_of"]) == (Decimal("2.40"), "EUR", TODAY - timedelta(days=7))
    assert (row["fx_total"], row["fx_platform_fee"], row["fx_seller_payout"]) == (36000, 3600, 32400)


def test_edge_26_a_deadline_without_a_rate_is_put_off_and_works_once_there_is_one(market: Market) -> None:
    """Silence cannot release what could not be settled: it waits, visibly, and asks again."""
    market.top_up(10**6, currency="OMR")
    escrow = market.at(State.MILESTONE_PENDING, currency="OMR")
    tenants.move_clock(market.engine, market.tenant, timedelta(days=15))
    market.apply(order(ReachDeadline, escrow))
    waiting = market.escrow(escrow)
    assert waiting.released == 0
    assert waiting.attention is not None
    assert "exchange_rate_unavailable" in waiting.attention
    tell_rate(market, "OMR", "2.40")
    tenants.move_clock(market.engine, market.tenant, timedelta(days=16))
    market.apply(order(ReachDeadline, waiting))
    assert market.escrow(escrow).released == 150000


def test_edge_25_a_refusal_of_a_pinned_escrow_is_not_mended_by_a_newer_version(market: Market) -> None:
    """Pinned means pinned: what the version of the funding has no rule for needs the operator, not a new policy."""
    write_fees(market, {"rate": "0.10", "category": "web"}, pin_at="funding")
    escrow = market.at(State.MILESTONE_PENDING)
    unmoved(market, escrow, order(ApproveMilestone, escrow), "fee_policy_not_found")


def test_edge_27_a_clawback_goes_by_the_fee_and_the_exchange_rate_of_the_original(market: Market) -> None:
    """Released at 10 % and 0.92, clawed back under 20 % and 0.80: 5000 of the fee, and 46000 cents in the report."""
    market.top_up(10**6, currency="USD")
    tell_rate(market, "USD", "0.92")
    escrow = market.at(State.MILESTONE_APPROVED, currency="USD")
    market.charge_fees({"release": "0.20", "reversal": "0.5"})
    tell_rate(market, "USD", "0.80")
    market.do(ReverseMilestone, escrow, amount=50000)
    original, back = settled(market, escrow)
    assert (back["outcome"], back["reverses"]) == ("reversal", original["id"])
    assert (back["fee_returned"], back["from_payable"], back["fee_rate"]) == (5000, 45000, Decimal("0.10"))
    assert (back["fx_rate"], back["fx_as_of"], back["fx_total"]) == (original["fx_rate"], original["fx_as_of"], 46000)
    assert back["fee_policy_version"] == original["fee_policy_version"]
    assert market.balance("wallet", "alice", "USD") == 10**6 - 500000 + 50000


def test_edge_27_a_clawback_works_while_there_is_no_rate_and_no_rule_any_more(market: Market) -> None:
    """All it needs is the original."""
    market.top_up(10**6, currency="USD")
    tell_rate(market, "USD", "0.92", 7)
    escrow = market.at(State.MILESTONE_APPROVED, currency="USD")
    tenants.put_policy(market.engine, market.tenant, "release", ReleasePolicy(max_rate_age=timedelta(days=1)))
    market.charge_fees({"refund": "0"})
    assert market.do(ReverseMilestone, escrow, amount=150000).refunded == 150000


@pytest.mark.parametrize("payer", ["seller", "buyer", "both"])
def test_edge_21_three_clawbacks_of_a_third_equal_one_of_the_whole_in_every_account(market: Market, payer: str) -> None:
    """10001 at 7.77 % divides badly, in fee, payout and report; the sums are the same to the unit."""
    write_fees(market, {"rate": "0.0777", "payer": payer})
    market.top_up(10**6, currency="USD")
    tell_rate(market, "USD", "0.9173")
    sums = []
    for parts in ((3333, 3334, 3334), (10001,)):
        escrow = market.at(State.MILESTONE_APPROVED, amount=10001, milestones=(10001,), currency="USD")
        for part in parts:
            market.do(ReverseMilestone, escrow, amount=part)
        original, *back = settled(market, escrow)
        assert len(back) == len(parts)
        names = ("total", "fee_returned", "from_payable", "from_wallet", "to_receivable", "fx_total")
        sums.append([sum(row[name] for row in back) for name in names])
        assert sums[-1][0] == original["total"]
        assert sums[-1][1] == original["platform_fee"]
        assert sums[-1][2] == original["seller_payout"]
        assert sums[-1][5] == original["fx_total"]
    assert sums[0] == sums[1]
    assert market.balance("fee_revenue", "platform", "USD") == market.balance("payable", "bob", "USD") == 0
    assert market.balance("wallet", "alice", "USD") == 10**6


def test_edge_22_clawbacks_together_never_exceed_the_release_even_at_once(market: Market) -> None:
    """Of ten that ask for 20000 of 150000 at the same instant, seven are given, and the rest is still there."""
    escrow = market.at(State.MILESTONE_APPROVED)
    outcomes = at_once(market, *(order(ReverseMilestone, escrow, amount=20000) for _ in range(10)))
    refused = [outcome.refusal for outcome in outcomes if outcome.refusal]
    assert [(one.code, one.details["refundable"]) for one in refused] == [("refund_amount_mismatch", 10000)] * 3
    escrow = market.do(ReverseMilestone, market.escrow(escrow), amount=10000)
    assert (escrow.milestones[0].status, escrow.milestones[0].clawed) == (MilestoneStatus.REFUNDED, 150000)
    assert market.refused(ReverseMilestone, escrow, amount=1).code == "invalid_transition"
    assert market.scalar("SELECT clawed FROM release WHERE escrow_id = :escrow", escrow=escrow.id) == 150000


def charged(market: Market, fund: Fund, amount: int, status: Any = "succeeded") -> Escrow:
    """Let the gateway answer the charge of a funding, and apply it."""
    identifier = charge_of(fund)
    market.books.begin_charge(
        ChargeOrder(
            id=identifier,
            tenant=market.tenant,
            party="alice",
            amount=amount,
            currency="EUR",
            payment_method="pm_card_visa",
        )
    )
    result = ChargeResult(
        id=identifier, status=status, reference="pi_1", reason=None if status == "succeeded" else "no"
    )
    market.books.settle_charge(result, GATEWAY)
    outcome = market.apply(fund)
    assert outcome.escrow is not None
    return outcome.escrow


def from_gateway(escrow: Escrow) -> Fund:
    """A funding by card."""
    return order(Fund, escrow, source="gateway", payment_method="pm_card_visa")


@pytest.mark.parametrize(
    ("amount", "state", "wallet"),
    [(500000, State.FUNDED, 0), (600000, State.FUNDED, 100000), (499999, State.CREATED, 499999)],
    ids=["exact", "over", "short"],
)
def test_edge_29_what_is_charged_beyond_the_amount_is_the_buyers_and_short_of_it_nothing_is_funded(
    market: Market, amount: int, state: State, wallet: int
) -> None:
    """Either way every unit that arrived is in the wallet or in the escrow."""
    before = market.balance("wallet", "alice")
    escrow = charged(market, from_gateway(market.create()), amount)
    assert (escrow.state, market.balance("wallet", "alice")) == (state, before + wallet)
    assert market.balance("escrow_hold", escrow.id) == amount - wallet


def test_edge_29_a_short_charge_says_what_is_missing_and_once_it_is_topped_up_the_wallet_funds(
    servers: Servers,
) -> None:
    """402 with what there is; nothing was lost of what the card brought."""
    market = Market(servers.engine, purse=0)
    fund = from_gateway(market.create())
    escrow = charged(market, fund, 499999)
    refusal = market.apply(fund).refusal
    assert refusal is not None
    assert (refusal.code, refusal.details["available"]) == ("payment_required", 499999)
    market.top_up(1)
    assert market.do(Fund, escrow).state == State.FUNDED
    assert market.balance("wallet", "alice") == 0
    market.audit()


def test_edge_29_a_short_charge_does_not_take_the_rest_from_the_wallets_reserve(servers: Servers) -> None:
    """The reserve does not bind a charge that was made for the escrow; it binds the wallet's own money."""
    market = Market(servers.engine, purse=1000, spend=SpendPolicy(reserve={"EUR": 1000}))
    assert charged(market, from_gateway(market.create()), 499999).state == State.CREATED
    assert market.balance("wallet", "alice") == 500999


def test_edge_29_a_declined_charge_funds_nothing_though_the_wallet_could(market: Market) -> None:
    """Who chose a card is not charged from the wallet."""
    fund = from_gateway(market.create())
    assert charged(market, fund, 500000, "declined").state == State.CREATED
    refusal = market.apply(fund).refusal
    assert refusal is not None
    assert refusal.code == "payment_declined"


def test_edge_29_what_is_due_includes_the_fee_that_the_buyer_adds(market: Market) -> None:
    """550000 are asked of the card at 10 %, and held."""
    write_fees(market, {"rate": "0.10", "payer": "buyer"})
    fund = from_gateway(market.create())
    assert market.books.amount_due(fund).amount == 550000
    escrow = charged(market, fund, 550000)
    assert (escrow.funded, escrow.surcharge) == (550000, 50000)


def test_edge_29_an_amount_lowered_while_the_card_was_charged_leaves_the_rest_in_the_wallet(market: Market) -> None:
    """What was charged for 500000 funds 300000."""
    before = market.balance("wallet", "alice")
    escrow = market.create(milestones=())
    fund = from_gateway(escrow)
    market.do(Amend, escrow, amount=300000)
    assert charged(market, fund, 500000).funded == 300000
    assert market.balance("wallet", "alice") == before + 200000
