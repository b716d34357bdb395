"""A wallet's balance is what is available and what is locked in escrows. Source: domain.md, section 7."""

from ledger import reads
from ledger.books import Books
from ledger.reads import WalletBalance
from models.commands import (
    ApproveMilestone,
    Cancel,
    Fund,
    RaiseDispute,
    ResolveDispute,
    ReviewDispute,
    StartWork,
    SubmitMilestone,
)
from models.policies import SpendPolicy
from models.states import State
from tests.builders import a_create
from tests.market import Market
from tests.servers import Servers


def wallet(market: Market, party: str = "alice", currency: str = "EUR") -> WalletBalance:
    """One party's wallet of one currency."""
    return next(one for one in reads.wallets(market.engine, market.tenant, party) if one.currency == currency)


def test_available_and_locked_follow_a_deal_to_its_end(servers: Servers) -> None:
    """Funding locks, a dispute keeps locked, a release takes from the locked, a refund makes available again."""
    market = Market(servers.engine, purse=600000)
    escrow = market.create()
    assert (wallet(market).available, wallet(market).locked) == (600000, 0)

    def step(kind: type, **fields: object) -> tuple[int, int]:
        nonlocal escrow
        escrow = market.do(kind, escrow, **fields)
        now = wallet(market)
        assert now.balance == now.available + now.locked
        return now.available, now.locked

    assert step(Fund) == (100000, 500000)
    assert step(StartWork) == step(SubmitMilestone) == (100000, 500000)
    assert step(ApproveMilestone) == (100000, 350000)
    assert step(RaiseDispute, milestones=(2,)) == (100000, 350000)
    assert step(ReviewDispute) == (100000, 350000)
    assert step(ResolveDispute, resolution="buyer_favor") == (300000, 150000)
    assert step(Cancel) == (450000, 0)
    market.audit()


def test_currencies_parties_and_tenants_do_not_mix(servers: Servers, market: Market) -> None:
    """Each wallet is one tenant's, one party's and one currency's; who has none has no line."""
    market.top_up(500, currency="JPY")
    market.top_up(7, party="carol")
    other = Market(servers.engine, purse=1)
    market.at(State.FUNDED)
    assert reads.wallets(market.engine, market.tenant, "alice") == [
        WalletBalance("alice", "EUR", 10**9 - 500000, 500000),
        WalletBalance("alice", "JPY", 500, 0),
    ]
    assert wallet(market, "carol") == WalletBalance("carol", "EUR", 7, 0)
    assert wallet(other) == WalletBalance("alice", "EUR", 1, 0)
    assert reads.wallets(market.engine, market.tenant, "nobody") == []


def test_edge_04_a_short_wallet_is_payment_required_with_what_is_missing(servers: Servers) -> None:
    """HTTP 402 names required, available, reserve and where to top up; after the top-up the same step works."""
    market = Market(servers.engine, purse=500099, spend=SpendPolicy(reserve={"EUR": 100}))
    escrow = market.create()
    refusal = market.refused(Fund, escrow)
    assert refusal.kind.status == 402
    assert refusal.code == "payment_required"
    assert refusal.details | {"top_up_url": None} == {
        "required": 500100, "available": 500099, "reserve": 100, "currency": "EUR", "top_up_url": None,
    }  # fmt: skip
    assert refusal.details["top_up_url"]
    assert market.escrow(escrow) == escrow
    market.top_up(1)
    assert market.do(Fund, escrow).state == State.FUNDED
    assert wallet(market).available == 100


def test_a_deployments_reserve_binds_tenants_without_a_spend_policy_of_their_own(servers: Servers) -> None:
    """The default comes with the books, a tenant's own policy replaces it."""
    market = Market(servers.engine, purse=500000)
    market.books = Books(servers.engine, SpendPolicy(reserve={"EUR": 1}))
    assert market.refused(Fund, market.create()).code == "payment_required"
    free = Market(servers.engine, purse=500000, spend=SpendPolicy())
    free.books = market.books
    assert free.do(Fund, free.create()).state == State.FUNDED


def test_with_the_wallet_gate_on_an_escrow_above_the_wallet_is_not_created(servers: Servers) -> None:
    """The gate compares with what is available now, and an escrow within it is created."""
    market = Market(servers.engine, purse=499999, spend=SpendPolicy(wallet_gate=True))
    refusal = market.apply(a_create(tenant=market.tenant)).refusal
    assert refusal is not None
    assert refusal.code == "payment_required"
    market.top_up(1)
    assert market.create().state == State.CREATED


def test_a_statement_and_the_trial_balance_tell_the_same_money(market: Market) -> None:
    """The last balance of every line of a statement is the account's, and debits equal credits overall."""
    market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    last = {line.account: line.balance for line in reads.statement(market.engine, market.tenant, "alice")}
    assert last == {"wallet": market.balance("wallet", "alice")}
    lines = reads.trial_balance(market.engine, market.tenant)
    assert sum(line.debit for line in lines) == sum(line.credit for line in lines) > 0
    assert {line.account: line.balance for line in lines}["fee_revenue"] == 15000
