"""Rivals at the same instant: PostgreSQL lets one win, tells the other why, and nobody deadlocks."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

import pytest
from psycopg import errors
from sqlalchemy import Engine, event

from ledger import reads, tenants
from ledger.books import Books
from ledger.engine import connect
from models import deadlines
from models.commands import (
    Amend,
    ApproveMilestone,
    Cancel,
    Command,
    Complete,
    Fund,
    RaiseDispute,
    RecordPayout,
    RejectMilestone,
    ReverseMilestone,
    SendPayout,
    StartWork,
    SubmitMilestone,
)
from models.escrow import Escrow
from models.outcome import Outcome
from models.states import State
from tests.builders import BUYER, OPERATOR, SELLER, a_create, order
from tests.database.postings import Line, post
from tests.market import FEES, Market
from tests.servers import Connection, Servers, eventually, one

Result = TypeVar("Result")
ROUNDS = 50
RIVALS = 20


@pytest.fixture(scope="module")
def racing(servers: Servers) -> Iterator[Engine]:
    """A pool of its own for the races of this file. At their end PostgreSQL has counted not one deadlock."""
    pids: set[int] = set()
    engine = connect(servers.endpoints.database_url, RIVALS)
    event.listen(engine, "connect", lambda connection, _: pids.add(connection.info.backend_pid))
    yield engine
    engine.dispose()
    with closing(servers.superuser()) as connection:
        # A backend reports its deadlocks at the latest when it ends.
        eventually(lambda: not one(connection, "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", list(pids)))
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert one(connection, query) == 0


@pytest.fixture
def market(racing: Engine) -> Iterator[Market]:
    """A tenant whose books are in the racing pool."""
    market = Market(racing)
    yield market
    market.audit()


def at_once(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do every work on a thread of its own, all starting at the same instant; answers in the order given."""
    start = Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def race(market: Market, *commands: Command) -> list[Outcome]:
    """Apply all commands at the same instant."""
    return at_once([partial(market.apply, command) for command in commands])


def codes(outcomes: Sequence[Outcome]) -> list[str]:
    """What became of each: ``accepted`` or the code of the refusal, sorted."""
    return sorted(outcome.refusal.code if outcome.refusal else "accepted" for outcome in outcomes)


def test_edge_01_of_an_approval_and_an_operators_refund_of_one_version_one_wins(market: Market) -> None:
    """The other gets ``conflict`` with the current version, and one settlement exists; fifty times over."""
    winners = Counter[str]()
    for _ in range(ROUNDS):
        escrow = market.at(State.MILESTONE_PENDING, amount=1000, milestones=(1000,))
        approve = order(ApproveMilestone, escrow, by=BUYER, expected_version=escrow.version)
        refund = order(ReverseMilestone, escrow, by=OPERATOR, amount=1000, expected_version=escrow.version)
        outcomes = race(market, approve, refund)
        assert codes(outcomes) == ["accepted", "conflict"]
        (loser,) = (outcome for outcome in outcomes if outcome.refusal)
        assert loser.refusal is not None
        assert loser.refusal.details["current_version"] == escrow.version + 1
        (settlement,) = reads.settlements(market.engine, escrow.id)
        winners[settlement["outcome"]] += 1
    assert winners.total() == ROUNDS


def test_edge_01_of_twenty_conflicting_commands_exactly_one_settles(market: Market) -> None:
    """Ten who would release and ten who would return the same milestone, all on the version they saw: one wins."""
    for _ in range(5):
        escrow = market.at(State.MILESTONE_PENDING, amount=1000, milestones=(1000,))
        seen = {"expected_version": escrow.version}
        approvals = [order(ApproveMilestone, escrow, by=by, **seen) for by in (BUYER, OPERATOR) * 5]
        reversals = [order(ReverseMilestone, escrow, by=by, amount=1000, **seen) for by in (SELLER, OPERATOR) * 5]
        outcomes = race(market, *approvals, *reversals)
        assert codes(outcomes) == ["accepted"] + ["conflict"] * (RIVALS - 1)
        assert market.count("settlement", escrow) == 1
        assert market.escrow(escrow).version == escrow.version + 1


def test_without_a_version_rivals_are_still_decided_one_after_the_other(market: Market) -> None:
    """Twenty approvals that name no version release a milestone once; the rest finds it approved."""
    escrow = market.at(State.MILESTONE_PENDING)
    outcomes = race(market, *(order(ApproveMilestone, escrow) for _ in range(RIVALS)))
    assert codes(outcomes) == ["accepted"] + ["invalid_transition"] * (RIVALS - 1)
    assert market.escrow(escrow).released == 150000


def test_edge_02_twenty_copies_of_one_command_at_once_have_one_effect_and_one_answer(market: Market) -> None:
    """Whoever comes second waits for the first and answers its stored outcome."""
    for _ in range(10):
        approve = order(ApproveMilestone, market.at(State.MILESTONE_PENDING))
        outcomes = race(market, *[approve] * RIVALS)
        assert len({outcome.model_dump_json() for outcome in outcomes}) == 1
        assert outcomes[0].refusal is None


def test_edge_02_twenty_copies_of_one_creation_make_one_escrow(market: Market) -> None:
    """There is no row to lock yet: the command's own key decides, and everyone gets the same answer."""
    for _ in range(10):
        outcomes = race(market, *[a_create(tenant=market.tenant)] * RIVALS)
        assert len({outcome.model_dump_json() for outcome in outcomes}) == 1
        assert outcomes[0].refusal is None


def test_edge_03_a_deadline_and_a_dispute_at_the_same_instant_never_both_act(market: Market) -> None:
    """Whichever commits first: the other is a no-op or refused; the milestone is released or frozen, never both."""
    seen = Counter[str]()
    for number in range(ROUNDS):
        escrow = market.at(State.MILESTONE_PENDING, amount=1000, milestones=(1000,))
        due = escrow.next_deadline
        assert due is not None
        # Every other dispute is received at the very instant of the deadline, and then comes after it.
        moment = due.due_at if number % 2 else escrow.updated_at
        reach = deadlines.reach(escrow, due, due.due_at)
        reached, disputed = race(market, reach, order(RaiseDispute, escrow, received_at=moment))
        after = market.escrow(escrow)
        assert reached.refusal is None
        if disputed.refusal:
            seen["released"] += 1
            assert (after.state, after.released, after.disputed) == (State.COMPLETED, 1000, 0)
        else:
            seen["frozen"] += 1
            assert (after.state, after.released, after.disputed) == (State.DISPUTED, 0, 1000)
        assert market.count("settlement", escrow) == (1 if disputed.refusal else 0)
    assert seen["released"] >= ROUNDS // 2


@pytest.mark.parametrize("kind", [Fund, Amend, StartWork])
def test_every_command_waits_for_the_sellers_lock_since_any_may_let_a_due_release_happen(
    servers: Servers, kind: type[Command]
) -> None:
    """Also those that only a buyer's money seems to concern: what is due acts inside them, and nets debts."""
    market = Market(servers.engine)
    escrow = market.at(State.MILESTONE_PENDING)
    command = order(kind, escrow, received_at=escrow.deadlines[0].due_at)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with closing(servers.app()) as holder, closing(servers.superuser()) as watcher, ThreadPoolExecutor(1) as pool:
        holder.execute("SELECT lock_parties(%s, 'EUR', 'bob', NULL)", (market.tenant,))
        rival = pool.submit(market.apply, command)
        eventually(lambda: one(watcher, waiting))
        assert market.escrow(escrow).released == 0
        holder.rollback()
        rival.result()
    assert market.escrow(escrow).released == 150000


def test_edge_04_of_two_fundings_that_together_exceed_the_wallet_exactly_one_is_402(racing: Engine) -> None:
    """The wallet's row makes them queue: one holds the money, the other learns what is left."""
    market = Market(racing, purse=0)
    for number in range(ROUNDS):
        party = f"alice-{number}"
        market.top_up(1500, party=party)
        buyer = BUYER.model_copy(update={"party": party})
        escrows = [market.create(amount=1000, milestones=(), buyer=party, by=buyer) for _ in range(2)]
        outcomes = race(market, *(order(Fund, escrow, by=buyer) for escrow in escrows))
        assert codes(outcomes) == ["accepted", "payment_required"]
        (short,) = (outcome.refusal for outcome in outcomes if outcome.refusal)
        assert (short.kind.status, short.details["required"], short.details["available"]) == (402, 1000, 500)
        assert market.balance("wallet", party) == 500
    market.audit()


def test_a_wallet_is_never_overdrawn_by_many_fundings_at_once(racing: Engine) -> None:
    """Of twenty fundings that the wallet can pay seven of, seven go through."""
    market = Market(racing, purse=7999)
    escrows = [market.create(amount=1000, milestones=()) for _ in range(RIVALS)]
    outcomes = race(market, *(order(Fund, escrow) for escrow in escrows))
    assert codes(outcomes) == ["accepted"] * 7 + ["payment_required"] * 13
    market.audit()


def test_edge_07_two_programs_that_send_the_same_commands_come_to_what_one_comes_to(
    servers: Servers, market: Market
) -> None:
    """Two pools, as of two workers, each applying the whole deal at once: same escrow, same money as alone."""
    alone = played(market, [market.books])
    other = connect(servers.endpoints.database_url, 4)
    try:
        together = played(market, [market.books, Books(other)])
    finally:
        other.dispose()
    assert [counters(one) for one in together] == [counters(one) for one in alone]
    assert market.count("settlement", together[-1]) == market.count("settlement", alone[-1]) == 3
    assert market.answers(together[-1]) == market.answers(alone[-1])


def played(market: Market, programs: list[Books]) -> list[Escrow]:
    """Play a deal to its end, every command applied by all programs at once; answers each step's escrow."""
    steps: list[tuple[type[Command], dict[str, Any]]] = [
        (Fund, {}), (StartWork, {}), (SubmitMilestone, {}), (ApproveMilestone, {}), (SendPayout, {}),
        (RecordPayout, {"outcome": "paid"}), (SubmitMilestone, {"milestone": 2}), (RejectMilestone, {"milestone": 2}),
        (ReverseMilestone, {"milestone": 2, "amount": 1}), (Complete, {}),
    ]  # fmt: skip
    escrow = market.create()
    story = [escrow]
    for kind, fields in steps:
        command = order(kind, escrow, **fields)
        outcomes = at_once([partial(books.apply, command) for books in programs])
        assert all(outcome == outcomes[0] for outcome in outcomes)
        assert outcomes[0].escrow is not None
        story.append(escrow := outcomes[0].escrow)
    return story


def counters(escrow: Escrow) -> tuple[Any, ...]:
    """What must be the same whoever played."""
    return escrow.state, escrow.version, escrow.held, escrow.released, escrow.refunded, len(escrow.payouts)


def test_a_crowd_on_shared_wallets_and_payables_ends_with_balanced_books_and_no_deadlock(racing: Engine) -> None:
    """Twenty deals between the same four people, each buyer of some and seller of others, all at once."""
    market, people = Market(racing, purse=0), ("ann", "ben", "cat", "dan")
    for person in people:
        market.top_up(10**6, party=person)
        tenants.put_party(racing, market.tenant, person, payout_destination=f"acct_{person}")

    def live(number: int) -> State:
        dice = random.Random(number)  # noqa: S311 - the same deals every time
        buyer, seller = dice.sample(people, 2)
        as_buyer, as_seller = (BUYER.model_copy(update={"party": buyer}), SELLER.model_copy(update={"party": seller}))
        escrow = market.create(amount=900, milestones=(300, 300), buyer=buyer, seller=seller, by=as_buyer)
        escrow = market.do(StartWork, market.do(Fund, escrow, by=as_buyer), by=as_seller)
        for milestone in (1, 2):
            escrow = market.do(SubmitMilestone, escrow, milestone=milestone, by=as_seller)
            if dice.random() < 0.5:
                escrow = market.do(ReverseMilestone, escrow, milestone=milestone, amount=100, by=as_seller)
            escrow = market.do(ApproveMilestone, escrow, milestone=milestone, by=as_buyer)
            escrow = market.do(RecordPayout, market.do(SendPayout, escrow), outcome=dice.choice(["paid", "failed"]))
        last: list[type[Command]] = [Cancel, Complete]
        return market.do(dice.choice(last), escrow, by=OPERATOR).state

    ended = at_once([partial(live, number) for number in range(RIVALS)])
    assert set(ended) == {State.CANCELLED, State.COMPLETED}
    market.audit()


UNCOMMITTED_FEE: list[Line] = [
    ("gateway_cash", "stripe", "debit", 5, "EUR"),
    ("fee_revenue", "platform", "credit", 5, "EUR"),
]
UNCOMMITTED_PAYABLE: list[Line] = [
    ("gateway_cash", "stripe", "debit", 5, "EUR"),
    ("payable", "bob", "credit", 5, "EUR"),
]


@pytest.fixture
def impatient(servers: Servers) -> Iterator[Books]:
    """Books that rather fail than wait for a lock."""
    engine = connect(servers.endpoints.database_url, 1)
    event.listen(engine, "connect", lambda connection, _: connection.execute("SET lock_timeout = '300ms'"))
    yield Books(engine)
    engine.dispose()


def test_nobody_waits_for_the_platforms_fee_account(impatient: Books, market: Market, app: Connection) -> None:
    """While a transaction that earned a fee is still open, another escrow's release commits without waiting."""
    escrow = market.at(State.MILESTONE_PENDING)
    post(app, market.tenant, *UNCOMMITTED_FEE)
    assert impatient.apply(order(ApproveMilestone, escrow)).refusal is None
    assert market.balance("fee_revenue", "platform") == 15000
    app.commit()
    assert market.balance("fee_revenue", "platform") == 15005


def test_a_sellers_payable_does_make_rivals_wait(impatient: Books, market: Market, app: Connection) -> None:
    """An account with a floor is locked until its transaction ends; so the test above could fail."""
    market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    escrow = market.at(State.MILESTONE_PENDING)
    post(app, market.tenant, *UNCOMMITTED_PAYABLE)
    with pytest.raises(errors.LockNotAvailable):
        impatient.apply(order(ApproveMilestone, escrow))
    app.rollback()
    assert market.do(ApproveMilestone, escrow).released == 150000


def test_one_escrow_never_waits_for_another(servers: Servers, impatient: Books, market: Market) -> None:
    """A command that is being decided locks its own escrow and nobody else's."""
    busy, free = market.at(State.MILESTONE_PENDING), market.at(State.FUNDED)
    with closing(servers.app()) as other:
        other.execute("SELECT FROM escrow WHERE id = %s FOR UPDATE", (busy.id,))
        assert impatient.apply(order(StartWork, free)).refusal is None
        with pytest.raises(errors.LockNotAvailable):
            impatient.apply(order(ApproveMilestone, busy))


def test_fees_are_those_of_the_policy_in_force_at_the_release(market: Market) -> None:
    """Releases that race with a change of the fee policy each name the version that they were computed by."""
    escrows = [market.at(State.MILESTONE_PENDING) for _ in range(8)]
    rates = {1: 15000, 2: 30000}
    works: list[Callable[[], object]] = [partial(market.do, ApproveMilestone, escrow) for escrow in escrows]
    at_once([*works, lambda: market.charge_fees(FEES | {"release": "0.20"})])
    for escrow in escrows:
        (row,) = reads.settlements(market.engine, escrow.id)
        assert row["platform_fee"] == rates[row["fee_policy_version"]]
