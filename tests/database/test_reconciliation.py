"""The books beside the provider's: whatever differs is found, named, and neither more nor less."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from temporalio.exceptions import ApplicationError

from activities.gateway_events import GatewayEventActivities
from ledger import comparing, corrections, reconciliation
from ledger.comparing import compare
from ledger.corrections import Proposal
from ledger.gateway_events import GatewayEvents, receive
from models.commands import CloseChargeback, RecordPayout, RetryPayout, SendPayout
from models.errors import RefusedError
from models.reconciliation import Agreement, Reading
from tests.builders import new_id
from tests.gateway.sandbox_process import SandboxProcess
from tests.market import GATEWAY
from tests.reconciling import NOW, World, empty_books, own_books, own_provider
from tests.servers import Servers


@pytest.fixture(scope="module")
def ground(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, SandboxProcess]]:
    """Books and a provider for this file: each test minds its own subjects, and the equation holds for all together."""
    directory = tmp_path_factory.mktemp("provider")
    with empty_books(servers) as empty, own_books(servers, empty) as engine, own_provider(directory) as sandbox:
        yield engine, sandbox


@pytest.fixture
def world(ground: tuple[Engine, SandboxProcess]) -> World:
    """A market of the test's own."""
    return World(*ground)


def unexplained(agreement: Agreement) -> dict[str, int]:
    """What the open differences are about, by currency."""
    return {one.currency: one.unexplained for one in agreement.balances}


def looked_into(world: World) -> None:
    """Look into everything that a round would look into."""
    for event in reconciliation.to_look_into(world.engine, GATEWAY, 1000):
        receive(world.engine, GATEWAY, event)
    events = GatewayEvents(world.engine)
    judging = GatewayEventActivities(events, world.gateway.records(), None)
    for number in events.claim(1000, timedelta(0)):
        judging.settle(judging.judge(number))


def test_what_both_have_is_no_difference(world: World) -> None:
    """Charges, payouts, one that came back, and contested payments that the bank has decided."""
    before = unexplained(world.compare()).get("EUR", 0)
    charge = world.charged(700)
    escrow, payout = world.paid()
    back = world.sandbox.happen("reverse", key=payout)
    world.market.do(RecordPayout, escrow, outcome="returned", reference=back["id"])
    references = []
    for outcome in ("won", "lost"):
        funded, key = world.funded()
        dispute = world.sandbox.happen("contest", key=key, amount=4000)
        references.append(dispute["id"])
        world.contested(funded, dispute["id"], 4000)
        world.sandbox.happen("decide", reference=dispute["id"], status=outcome)
        world.market.do(CloseChargeback, funded, outcome=outcome)
    agreement = world.compare()
    assert world.of(charge, payout, *references) == []
    assert unexplained(agreement)["EUR"] == before


def test_what_the_provider_has_and_the_books_have_not(world: World) -> None:
    """A charge that the books gave up on, one that they never heard of, and a payment that a bank contests."""
    declined = world.taken(1100)
    world.booked(declined, 1100, "declined")
    stranger = world.taken(1200)
    funded, key = world.funded()
    dispute = world.sandbox.happen("contest", key=key, amount=2500)
    _, late_key = world.funded()
    failed = world.sandbox.happen("fail", key=late_key)
    before = unexplained(world.compare())["EUR"]
    assert world.differs(declined) == {"cause": "missing_here", "kind": "charge", "ours": None, "theirs": 1100}
    assert world.differs(stranger) == {"cause": "missing_here", "kind": "charge", "ours": None, "theirs": 1200}
    assert world.differs(dispute["id"]) == {"cause": "missing_here", "kind": "contested", "ours": None, "theirs": -2500}
    assert world.differs(failed["id"]) == {"cause": "missing_here", "kind": "contested", "ours": None, "theirs": -10000}
    (found,) = world.of(declined)
    assert (found.tenant, found.escrow, "as declined" in found.says) == (world.market.tenant, None, True)
    whose = {one.subject: one.tenant for one in world.of(stranger, dispute["id"])}
    assert whose == {stranger: None, dispute["id"]: world.market.tenant}
    world.contested(funded, dispute["id"], 2500)
    assert unexplained(world.compare())["EUR"] == before + 2500
    (healed,) = world.of(dispute["id"])
    assert (healed.status, healed.closed_why) == ("healed", "both sides agree")


def test_an_outcome_that_the_books_wait_for(world: World) -> None:
    """A charge and a payout of which the provider knows, and those of which it does not."""
    charge, nothing = world.pending(1300), world.pending(1400)
    world.taken(1300, charge)
    escrow, payout = world.in_transit()
    world.sent(payout, escrow.payouts[0].amount)
    _, unsent = world.in_transit()
    world.compare()
    assert world.differs(charge) == {"cause": "unknown_outcome", "kind": "charge", "ours": None, "theirs": 1300}
    assert world.differs(nothing) == {"cause": "unknown_outcome", "kind": "charge", "ours": None, "theirs": None}
    assert world.differs(payout) == {"cause": "unknown_outcome", "kind": "payout", "ours": None, "theirs": -9000}
    assert world.differs(unsent) == {"cause": "unknown_outcome", "kind": "payout", "ours": None, "theirs": None}
    (found,) = world.of(payout)
    assert (found.tenant, found.escrow) == (world.market.tenant, escrow.id)
    world.market.do(RecordPayout, escrow, outcome="paid")
    world.compare()
    assert [one.status for one in world.of(payout)] == ["healed"]


def test_what_the_books_have_and_the_provider_has_not(world: World) -> None:
    """Money that never arrived, and a payout that never left."""
    charge = world.booked(new_id("chg"), 1500)
    escrow, payout = world.in_transit()
    world.market.do(RecordPayout, escrow, outcome="paid")
    world.compare()
    assert world.differs(charge) == {"cause": "missing_there", "kind": "charge", "ours": 1500, "theirs": None}
    assert world.differs(payout) == {"cause": "missing_there", "kind": "payout", "ours": -9000, "theirs": None}


def test_an_amount_that_differs(world: World) -> None:
    """Less was booked than was taken; something was taken in another currency; a part of a payout came back."""
    less = world.booked(world.taken(1600), 1599)
    dollars = world.booked(world.taken(1700, currency="USD"), 1700)
    escrow, payout = world.paid()
    world.sandbox.happen("reverse", key=payout, amount=100)
    world.market.do(RecordPayout, escrow, outcome="returned", reference="tr_1")
    agreement = world.compare()
    assert world.differs(less) == {"cause": "amount_differs", "kind": "charge", "ours": 1599, "theirs": 1600}
    assert {(one.cause, one.currency, one.ours, one.theirs) for one in world.of(dollars)} == {
        ("amount_differs", "EUR", 1700, None),
        ("amount_differs", "USD", None, 1700),
    }
    assert world.differs(payout) == {"cause": "amount_differs", "kind": "payout_return", "ours": 9000, "theirs": 100}
    assert unexplained(agreement)["USD"] == 1700


def test_what_the_provider_has_twice(world: World) -> None:
    """Its key was forgotten, and somebody sent the same again."""
    charge = world.charged(1800)
    world.sandbox.forget_keys()
    world.taken(1800, charge)
    world.compare()
    assert world.differs(charge) == {"cause": "duplicate", "kind": "charge", "ours": 1800, "theirs": 3600}
    assert "has it twice, the books once" in world.of(charge)[0].says


def test_what_was_only_just_written_is_late_and_then_no_more(world: World) -> None:
    """The same difference, with the age that it had; one that the other side follows to was nothing to heal."""
    missing, follows = world.booked(new_id("chg"), 1900), world.booked(new_id("chg"), 1950)
    world.compare(grace=timedelta(minutes=15))
    (first,) = world.of(missing)
    assert (first.cause, first.remedy[:12]) == ("late", "Nothing yet:")
    world.taken(1950, follows)
    world.compare()
    (second,) = world.of(missing)
    assert (second.id, second.first_seen, second.since, second.cause) == (
        first.id,
        first.first_seen,
        first.since,
        "missing_there",
    )
    assert second.last_seen > first.last_seen
    (closed,) = world.of(follows)
    assert (closed.status, closed.closed_why) == ("healed", "the other side followed")


def test_a_contested_payment_that_the_bank_has_not_decided_is_explained(world: World) -> None:
    """The provider took it at once, the books take it when the bank has decided; more than that is a difference."""
    before = world.compare()
    funded, key = world.funded()
    dispute = world.sandbox.happen("contest", key=key, amount=4000)
    world.contested(funded, dispute["id"], 4000)
    more, other_key = world.funded()
    larger = world.sandbox.happen("contest", key=other_key, amount=5000)
    world.contested(more, larger["id"], 4000)
    inquired, third_key = world.funded()
    inquiry = world.sandbox.happen("contest", key=third_key, amount=3000, status="warning_needs_response")
    world.contested(inquired, inquiry["id"], 3000)
    after = world.compare()
    assert world.of(dispute["id"], inquiry["id"]) == []
    assert world.differs(larger["id"]) == {
        "cause": "amount_differs",
        "kind": "contested",
        "ours": -4000,
        "theirs": -5000,
    }
    explained = [sum(one.explained.get("contested", 0) for one in agreement.balances) for agreement in (before, after)]
    assert explained[1] - explained[0] == -8000


def test_what_a_contested_payment_took_too_much_is_corrected_once(world: World) -> None:
    """What an open chargeback explains is of what our books booked for it, without the correction."""
    funded, key = world.funded()
    dispute = world.sandbox.happen("contest", key=key, amount=5000)
    world.contested(funded, dispute["id"], 4000)
    world.compare()
    (open_,) = world.of(dispute["id"])
    with world.engine.begin() as connection:  # a minute later
        later = "UPDATE difference SET last_seen = last_seen + interval '61 s' WHERE id = :id"
        connection.execute(text(later), {"id": open_.id})
    corrections.propose(world.engine, Proposal(difference=open_.id, reason="The bank took more", operator="olga"), 5000)
    world.compare()
    assert [(one.status, one.ours, one.theirs) for one in world.of(dispute["id"])] == [("corrected", -4000, -5000)]


def test_a_late_failure_is_explained_by_what_is_frozen(world: World) -> None:
    """What had been released was taken back at once, and the rest of it when the case is closed."""
    funded, key = world.funded()
    charge = world.sandbox.happen("fail", key=key)
    world.contested(funded, charge["id"], 10000, "failed_charge")
    world.compare()
    assert world.of(charge["id"]) == []
    world.market.do(CloseChargeback, funded, outcome="lost")
    world.compare()
    assert world.of(charge["id"]) == []


def test_a_payout_that_went_to_another_account_is_named_though_the_sums_agree(world: World) -> None:
    """Whose money it is, no sum says; only what comes back mends it, and no correction."""
    escrow, key = world.in_transit()
    destination = escrow.payouts[0].destination
    world.gateway.transfer(key=key, destination="acct_mallory", amount=9000, currency="EUR", metadata={})
    escrow = world.market.do(RecordPayout, escrow, outcome="paid")
    agreement = world.compare()
    assert world.differs(key) == {"cause": "misdirected", "kind": "payout", "ours": -9000, "theirs": -9000}
    (found,) = world.of(key)
    assert f"went to acct_mallory, and was meant for {destination}" in found.says
    with pytest.raises(RefusedError, match="no case for a correction: Find out at once who sent it"):
        corrections.propose(world.engine, Proposal(difference=found.id, reason="So what", operator="olga"), 99999)
    back = world.sandbox.happen("reverse", key=key)
    world.market.do(RecordPayout, escrow, outcome="returned", reference=back["id"])
    assert world.compare().matched > agreement.matched
    assert [one.status for one in world.of(key)] == ["healed"]


def test_a_payout_that_our_books_gave_up_and_the_provider_sent(world: World) -> None:
    """It failed and was sent again: then the seller has it twice. What comes back of it books nothing by itself."""
    escrow, key = world.in_transit()
    world.sent(key, 9000)
    failed = world.market.do(RecordPayout, escrow, outcome="failed", reason="declined")
    world.compare()
    assert world.differs(key) == {"cause": "missing_here", "kind": "payout", "ours": None, "theirs": -9000}
    assert world.of(key)[0].remedy.startswith("Do not send the payout again before")
    payout = failed.payouts[0]
    again = world.market.do(RetryPayout, failed, payout=payout.id)
    again = world.market.do(SendPayout, again, generation=2)
    world.sent(f"{payout.id}:2", 9000)
    world.market.do(RecordPayout, again, generation=2, outcome="paid")
    world.sandbox.happen("reverse", key=key)
    world.compare()
    twice, back = world.of(key)
    assert (twice.cause, twice.kind, back.cause, back.kind) == ("duplicate", "payout", "missing_here", "payout_return")
    assert "although our books have it as failed; attempt 2 of the same payout is paid: the seller may" in twice.says
    assert back.says.endswith("the books have nothing; they have attempt 2 of it as paid")
    assert back.remedy.startswith("The provider is asked what became of it")
    looked_into(world)
    world.compare()
    assert "Looked into: about attempt 1 of the payout, which is at 2" in world.of(key)[1].says
    assert world.of(key)[1].remedy.startswith("Find out why; then propose a correction. What came back stays")


def test_cash_with_another_provider_is_named(world: World) -> None:
    """Nobody's statement is compared with it, and the equation is without it."""
    before = unexplained(world.compare())
    world.by_hand(70, provider="adyen")
    assert unexplained(world.compare()) == before
    (found,) = world.of("gateway_cash of adyen")
    assert (found.cause, found.currency, found.status) == ("missing_there", None, "open")
    assert found.says == "the books have 0.70 EUR with adyen, and only stripe is asked what it holds"


def test_what_nobody_can_name_is_told_as_well(world: World) -> None:
    """A refund that nobody asked for here, and entries that no movement of the provider's belongs to."""
    charge = world.charged(2000)
    (intent,) = (one["payment_intent"] for one in world.sandbox.list("charges", transfer_group=charge))
    world.sandbox.post("/v1/refunds", {"payment_intent": intent, "amount": "300"})
    (line,) = (one for one in world.sandbox.list("balance_transactions", type="refund"))
    stray = world.by_hand(70)
    world.compare()
    assert world.differs(line["id"]) == {"cause": "missing_here", "kind": "other", "ours": None, "theirs": -300}
    assert world.differs(stray) == {"cause": "missing_there", "kind": "other", "ours": 70, "theirs": None}


def test_what_a_correction_booked_agrees_from_then_on(world: World) -> None:
    """The difference is closed by it, and the next round finds none; what was booked twice is a difference again."""
    charge = world.taken(2100)
    world.compare()
    (open_,) = world.of(charge)
    wanted = Proposal(difference=open_.id, tenant=world.market.tenant, reason="A charge by hand", operator="olga")
    booked = corrections.propose(world.engine, wanted, 5000)
    assert booked.status == "booked"
    world.compare()
    assert [one.status for one in world.of(charge)] == ["corrected"]
    world.booked(charge, 2100)
    world.compare()
    assert world.differs(charge) == {"cause": "amount_differs", "kind": "charge", "ours": 4200, "theirs": 2100}
    assert "21.00 EUR of it by correction" in world.of(charge)[-1].says


def test_a_balance_that_its_own_lines_do_not_make_up_is_a_difference_or_moves(world: World) -> None:
    """With the provider's statement something is wrong: it is told, and corrected nowhere."""
    world.charged(2200)
    agreement = world.compare()
    (euros,) = (one for one in agreement.balances if one.currency == "EUR")
    reading = Reading(
        round=new_id("rec"), provider=GATEWAY, read_up_to=datetime.now(UTC), done=True,
        balances={one.currency: one.theirs for one in agreement.balances} | {"EUR": euros.theirs + 5},
    )  # fmt: skip
    (wrong,) = (one for one in compare(world.engine, reading, NOW).balances if one.currency == "EUR")
    assert wrong.unexplained == euros.unexplained + 5
    assert world.differs("balance") == {
        "cause": "amount_differs", "kind": None, "ours": euros.theirs, "theirs": euros.theirs + 5
    }  # fmt: skip
    other = reading.model_copy(update={"moved": {"EUR": -4}})  # that something moved excuses nothing else
    assert compare(world.engine, other, NOW).balances == compare(world.engine, reading, NOW).balances
    moving = reading.model_copy(update={"moved": {"EUR": -5}})
    (moved,) = (one for one in compare(world.engine, moving, NOW).balances if one.currency == "EUR")
    assert (moved.explained["moved_meanwhile"], moved.unexplained) == (5, euros.unexplained)
    world.compare()
    assert [one.status for one in world.of("balance")] == ["healed"]


def test_a_comparison_that_overlooks_something_writes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The equation is checked each time: what the query loses, the two accounts have."""
    charge = world.taken(2300)
    lossy = comparing._QUERY.replace(
        "WHERE provider = :provider) l", "WHERE kind <> 'charge' AND provider = :provider) l"
    )
    monkeypatch.setattr(comparing, "_QUERY", lossy)
    with pytest.raises(ApplicationError, match="the parts do not make the whole"):
        world.compare()
    assert world.of(charge) == []


def test_a_round_reads_the_last_day_again_and_keeps_what_it_has(world: World) -> None:
    """Lines are kept once; a round that was left unfinished is given up by the next one."""
    charge = world.charged(2500)
    unfinished = reconciliation.begin(world.engine, new_id("rec"), GATEWAY)
    lines = world.compare().lines
    agreement = world.compare()
    last = reconciliation.latest(world.engine, GATEWAY)
    assert last is not None
    assert last.read_up_to is not None
    assert (last.lines, last.balances, last.failed) == (lines, agreement.balances, None)
    assert reconciliation.begin(world.engine, new_id("rec"), GATEWAY).since == last.read_up_to - timedelta(days=1)
    known = {one.id: one for one in reconciliation.rounds(world.engine, 50)}
    assert known[unfinished.round].failed == "it was given up before its end"
    assert world.of(charge) == []


def test_what_is_looked_into_is_so_once_a_day_and_not_after_a_refusal(world: World) -> None:
    """Of what the provider knows better than the books an event is made, as it should have sent it."""
    charge, stranger = world.pending(2600), world.taken(2650)
    world.taken(2600, charge)
    declined = world.booked(world.taken(2700), 2700, "declined")
    _, key = world.funded()
    dispute = world.sandbox.happen("contest", key=key, amount=100)
    world.compare()
    wanted = {one.key: one for one in reconciliation.to_look_into(world.engine, GATEWAY, 1000)}
    assert {charge, declined, key} <= wanted.keys()
    assert stranger not in wanted  # the books know nothing that could be looked into
    assert (wanted[charge].type, wanted[key].type) == ("charge.succeeded", "charge.dispute.created")
    assert wanted[key].reference == dispute["id"]
    for event in wanted.values():
        assert receive(world.engine, GATEWAY, event)
    assert reconciliation.to_look_into(world.engine, GATEWAY, 1000) == []
    looked_into(world)
    world.compare()
    (refused,) = world.of(declined)
    assert "which the books have as declined: correct it by hand" in refused.says
