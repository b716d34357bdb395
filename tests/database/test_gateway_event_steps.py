"""What an event of the provider's calls for: by how things stand with the provider and in the books, nothing else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from activities.gateways.port import Succeeded
from ledger.engine import connect
from models.charges import ChargeResult, charge_of
from models.commands import CloseChargeback, Fund, OpenChargeback, RecordPayout, RetryPayout, SendPayout
from models.states import ChargebackStatus, State
from tests.builders import new_id, order
from tests.market import GATEWAY, Market
from tests.provider import an_event, by_card, charged, judged, looking, row, tell
from tests.servers import Servers
from tests.workers import gateway
from tests.workflow.scene import Sandbox


@pytest.fixture
def door(servers: Servers) -> Iterator[Engine]:
    """Connections as the role of the API."""
    engine = connect(servers.endpoints.api_database_url, 8)
    yield engine
    engine.dispose()


@pytest.fixture
def sandbox(servers: Servers) -> Iterator[Sandbox]:
    """The stack's payment provider, well-behaved again after the test."""
    sandbox = Sandbox(servers.endpoints)
    yield sandbox
    sandbox.behave()


def test_edge_17_a_dispute_opens_a_chargeback_of_what_is_contested(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """In our minor units, with the provider's reference and reason, under an id of the dispute and not of the event."""
    escrow, key = by_card(servers, market)
    dispute = sandbox.happen("contest", key=key, amount=1234, reason="product_not_received")
    (created,) = sandbox.events(dispute["id"])
    tell(door, servers.endpoints, created)
    step = judged(servers, created)
    assert isinstance(step.command, OpenChargeback)
    assert (step.command.id, step.command.escrow) == (f"stripe:{dispute['id']}:open", escrow.id)
    assert (step.command.kind, step.command.amount, step.command.reason) == ("chargeback", 1234, "product_not_received")
    market.accept(step.command)
    assert judged(servers, created).verdict == "applied"


def test_edge_14_rivals_that_apply_the_same_events_at_the_same_time_move_money_once(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """A lease that ended too early, or a workflow that was started twice: the books have one chargeback, one loss."""
    escrow, key = by_card(servers, market)
    dispute = sandbox.happen("contest", key=key, amount=200000)
    sandbox.happen("decide", reference=dispute["id"], status="lost")
    told = sandbox.events(dispute["id"])
    tell(door, servers.endpoints, *told)

    def apply(event: dict[str, Any]) -> str:
        for _ in range(20):
            step = judged(servers, event)
            if step.command is None:
                return step.verdict
            market.apply(step.command)
        return "never done"

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(apply, told * 8)) == {"applied"}
    after = market.escrow(escrow)
    assert [(one.amount, one.status) for one in after.chargebacks] == [(200000, ChargebackStatus.LOST)]
    assert (after.held, after.charged_back) == (300000, 200000)
    assert [name for name, outcome in market.answers(escrow) if outcome == "accepted"][-2:] == [
        "open_chargeback",
        "close_chargeback",
    ]


def test_edge_16_a_dispute_by_which_the_bank_says_that_it_could_not_collect_is_a_failed_charge(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """Stripe tells late failures of most bank debits as disputes with a reason of the bank's own."""
    _, key = by_card(servers, market)
    dispute = sandbox.happen("contest", key=key, reason="insufficient_funds", status="lost")
    (created,) = sandbox.events(dispute["id"])
    tell(door, servers.endpoints, created)
    opened = judged(servers, created).command
    assert isinstance(opened, OpenChargeback)
    assert opened.kind == "failed_charge"
    market.accept(opened)
    closed = judged(servers, created).command
    assert isinstance(closed, CloseChargeback)
    assert closed.outcome == "lost"


@pytest.mark.parametrize("status", ["won", "warning_closed"])
def test_edge_17_an_inquiry_or_a_dispute_that_was_won_before_we_heard_of_it_changes_nothing(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine, status: str
) -> None:
    """Nothing was taken for good, so nothing is frozen for a moment only."""
    _, key = by_card(servers, market)
    dispute = sandbox.happen("contest", key=key, status="warning_needs_response")
    sandbox.happen("decide", reference=dispute["id"], status=status)
    created, closed = sandbox.events(dispute["id"])
    tell(door, servers.endpoints, created, closed)
    assert [judged(servers, one).verdict for one in (created, closed)] == ["ignored", "ignored"]


def test_edge_17_a_second_dispute_waits_until_the_first_is_decided(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """One chargeback of an escrow is open at a time; the other is not lost."""
    escrow, key = by_card(servers, market)
    first, second = (sandbox.happen("contest", key=key, amount=part) for part in (100, 200))
    (one_created,), (other_created,) = sandbox.events(first["id"]), sandbox.events(second["id"])
    tell(door, servers.endpoints, one_created, other_created)
    opened = judged(servers, one_created).command
    assert opened is not None
    market.accept(opened)
    waiting = judged(servers, other_created, later=timedelta(days=60))  # banks take their time
    assert (waiting.verdict, first["id"] in (waiting.why or "")) == ("wait", True)
    market.do(CloseChargeback, escrow, outcome="won")
    assert isinstance(judged(servers, other_created).command, OpenChargeback)


def test_what_is_contested_beyond_the_escrows_own_money_is_out_of_its_reach(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """More was charged than the escrow took: the chargeback takes what was paid in, the rest is in the wallet."""
    escrow = market.create(amount=1000, milestones=(1000,))
    fund = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
    charged(servers, market, charge_of(fund), 5000)
    market.accept(fund)
    dispute = sandbox.happen("contest", key=charge_of(fund))
    (created,) = sandbox.events(dispute["id"])
    tell(door, servers.endpoints, created)
    opened = judged(servers, created).command
    assert isinstance(opened, OpenChargeback)
    assert opened.amount == 1000


def test_a_dispute_of_a_top_up_is_for_a_person_once_no_funding_can_be_on_its_way(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """It waits some minutes for a funding; then it is refused, says why and stays in sight."""
    key = new_id("chg")
    charged(servers, market, key, 700)
    (created,) = sandbox.events(sandbox.happen("contest", key=key)["id"])
    tell(door, servers.endpoints, created)
    assert judged(servers, created).verdict == "wait"
    step = judged(servers, created, later=timedelta(hours=1))
    assert (step.verdict, "topped up a wallet" in (step.why or "")) == ("refused", True)
    looking(servers).settle(step)
    kept = row(servers.engine, created)
    assert (kept["status"], kept["last_error"]) == ("refused", step.why)


def test_a_charge_that_the_provider_took_and_the_books_have_as_declined_is_for_a_person(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """It must never be; if it is, somebody has to see it."""
    key = new_id("chg")
    ordered = market.charge(700).model_copy(update={"id": key})
    market.books.begin_charge(ordered)
    market.books.settle_charge(ChargeResult(id=key, status="declined", reason="no"), GATEWAY)
    said = gateway(servers.endpoints).charge(
        key=key, party="alice", payment_method="pm_card_visa", amount=700, currency="EUR", metadata={}
    )
    assert isinstance(said, Succeeded)
    (succeeded,) = sandbox.events(said.reference)
    tell(door, servers.endpoints, succeeded)
    assert judged(servers, succeeded).verdict == "refused"


def test_edge_14_an_event_about_what_we_do_not_know_yet_waits_and_is_ignored_after_days(
    servers: Servers, door: Engine
) -> None:
    """Our own reply may be on its way; after three days it is not. The row stays and says why."""
    event = an_event(
        "payment_intent.succeeded", id="pi_1", object="payment_intent", metadata={"holdfast_key": new_id("chg")}
    )
    tell(door, servers.endpoints, event)
    assert judged(servers, event).verdict == "wait"
    step = judged(servers, event, later=timedelta(days=3, hours=1))
    assert step.verdict == "ignored"
    assert "given up after 3 days" in (step.why or "")


def test_an_event_waits_while_the_provider_does_not_say_how_things_stand(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """What the event itself says is not enough to move money."""
    _, key = by_card(servers, market)
    (created,) = sandbox.events(sandbox.happen("contest", key=key)["id"])
    tell(door, servers.endpoints, created)
    sandbox.fault("look_up", "answer", status=503, body={"error": {"type": "api_error"}})
    assert judged(servers, created).verdict == "wait"
    assert judged(servers, created).verdict == "act"


def test_edge_14_an_event_that_claims_what_the_provider_does_not_confirm_moves_nothing(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """Signed or not: a failure, a return or a dispute that the provider does not show is ignored."""
    escrow, key = by_card(servers, market)
    (charge,) = sandbox.charges(key)
    failed = an_event("charge.failed", id=charge["id"], object="charge", metadata={"holdfast_key": key})
    dispute = an_event("charge.dispute.created", id="du_made_up", object="dispute", amount=500000)
    tell(door, servers.endpoints, failed, dispute)
    assert [judged(servers, one).verdict for one in (failed, dispute)] == ["ignored", "ignored"]
    assert market.escrow(escrow) == escrow


def test_edge_13_what_came_back_of_a_payout_is_asked_of_the_provider_and_not_taken_from_the_event(
    servers: Servers, market: Market, sandbox: Sandbox, door: Engine
) -> None:
    """``returned`` follows ``paid`` only, once, and not before all of it has come back.

    Edge 14: told again when the money was sent to another account, it is about an older attempt.
    """
    escrow = market.at(State.MILESTONE_APPROVED)
    payout = escrow.payouts[0]
    sent = market.do(SendPayout, escrow).payouts[0]
    key = f"{payout.id}:1"
    said = gateway(servers.endpoints).transfer(
        key=key, destination=sent.destination or "", amount=sent.amount, currency="EUR", metadata={}
    )
    assert isinstance(said, Succeeded)
    told = an_event("transfer.reversed", id=said.reference, object="transfer", metadata={"holdfast_key": key})
    tell(door, servers.endpoints, told)
    assert judged(servers, told).verdict == "ignored"
    sandbox.happen("reverse", key=key)
    waiting = judged(servers, told)
    assert (waiting.verdict, waiting.wake) == ("wait", (f"payout:{payout.id}",))
    market.do(RecordPayout, escrow, outcome="paid", reference=said.reference)
    step = judged(servers, told)
    assert isinstance(step.command, RecordPayout)
    assert (step.command.outcome, step.command.generation) == ("returned", 1)
    market.accept(step.command)
    assert judged(servers, told).verdict == "applied"
    market.do(RetryPayout, market.escrow(escrow), destination=f"{market.destination}2")
    market.do(SendPayout, market.escrow(escrow))
    market.do(RecordPayout, market.escrow(escrow), outcome="paid", reference="tr_second")
    late = judged(servers, told)
    assert (late.verdict, late.why) == ("ignored", "about attempt 1 of the payout, which is at 2")
