"""One command is one transaction: decided once, recorded always, and a repetition changes nothing."""

from datetime import timedelta

import pytest
from psycopg import errors
from sqlalchemy import text

from ledger import reads, tenants
from ledger.charges import ChargeReusedError
from ledger.load import read_escrow
from ledger.write import Batch
from models.charges import ChargeResult
from models.commands import (
    Amend,
    ApproveMilestone,
    Cancel,
    Complete,
    Fund,
    RaiseDispute,
    Refund,
    ReleaseOverride,
    ReverseMilestone,
    StartWork,
    SubmitMilestone,
)
from models.decide import decide
from models.decision import Decision
from models.errors import ErrorCode, Refusal, RefusedError
from models.fields import Evidence
from models.states import MilestoneStatus, State
from tests.builders import OPERATOR, SELLER, a_create, new_id, order, policies
from tests.market import GATEWAY, Market, now
from tests.servers import Connection, Servers

TABLES = ("command", "audit", "event", "entry", "ledger_transaction", "settlement", "payout", "milestone", "deadline")


def rows(market: Market) -> dict[str, int]:
    """How many rows every table has for everybody; the tests of one process run one by one."""
    with market.engine.connect() as connection:
        return {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in TABLES}


def test_edge_02_an_accepted_command_repeated_answers_the_stored_outcome(market: Market) -> None:
    """The same id with the same body gives the first answer again, and not one new row."""
    approve = order(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    first = market.apply(approve)
    before = rows(market)
    assert market.apply(approve) == first
    assert market.apply(approve.model_copy(update={"received_at": now()})) == first
    assert rows(market) == before


def test_edge_02_a_refused_command_repeated_answers_the_stored_refusal(market: Market) -> None:
    """A refusal is an outcome too: it is repeated even when the command would be possible by now."""
    escrow = market.at(State.IN_PROGRESS)
    approve = order(ApproveMilestone, escrow)
    first = market.apply(approve)
    assert first.refusal is not None
    market.do(SubmitMilestone, escrow)
    before = rows(market)
    assert market.apply(approve) == first
    assert rows(market) == before


@pytest.mark.parametrize("accepted", [True, False], ids=["after success", "after refusal"])
def test_edge_02_a_command_id_with_another_body_is_refused(market: Market, accepted: bool) -> None:
    """Whatever became of the first, its id stands for its body: ``idempotency_key_reused``, and no new row."""
    escrow = market.at(State.MILESTONE_PENDING if accepted else State.IN_PROGRESS)
    approve = order(ApproveMilestone, escrow)
    market.apply(approve)
    before = rows(market)
    other = approve.model_copy(update={"milestone": escrow.milestones[1].id})
    refusal = market.apply(other).refusal
    assert refusal is not None
    assert refusal.code == "idempotency_key_reused"
    assert rows(market) == before


def test_the_same_command_id_of_another_tenant_is_another_command(servers: Servers, market: Market) -> None:
    """Command ids are a tenant's own: two marketplaces may both number their commands from one."""
    other = Market(servers.engine)
    for each in (market, other):
        assert each.create(id="order-1").state == State.CREATED


def test_edge_12_a_charge_under_the_same_id_with_another_amount_is_refused(market: Market) -> None:
    """The books refuse it before a gateway is asked, and what was written down first stays."""
    charge = market.charge(100)
    begun = market.books.begin_charge(charge)
    for change in ({"amount": 200}, {"party": "mallory"}, {"currency": "USD"}, {"payment_method": "pm_other"}):
        with pytest.raises(ChargeReusedError, match="was made for 100 EUR of alice"):
            market.books.begin_charge(charge.model_copy(update=change))
    assert market.books.begin_charge(charge) == begun


def test_a_charge_is_credited_once_however_often_its_outcome_arrives(market: Market) -> None:
    """The first definite outcome is booked; a repetition or another one answers what was booked."""
    charge = market.top_up(100)
    again = ChargeResult(id=charge.id, status="succeeded", reference="pi_1")
    otherwise = ChargeResult(id=charge.id, status="declined", reason="late")
    for result in (again, otherwise):
        assert market.books.settle_charge(result, GATEWAY).status == "succeeded"
    assert market.balance("wallet", "alice") == 10**9 + 100


def test_a_declined_charge_credits_nothing(market: Market) -> None:
    """A decline is written down with its reason and moves no money."""
    charge = market.charge(100)
    market.books.begin_charge(charge)
    result = ChargeResult(id=charge.id, status="declined", reason="card_declined: no")
    assert market.books.settle_charge(result, GATEWAY).reason == "card_declined: no"
    assert market.balance("wallet", "alice") == 10**9


def test_edge_25_without_a_fee_rule_nothing_moves_and_a_retry_works_once_there_is_one(servers: Servers) -> None:
    """``fee_policy_not_found`` leaves escrow and money alone; after the policy is added the same step goes through."""
    market = Market(servers.engine, fees={"refund": "0"})
    escrow = market.at(State.MILESTONE_PENDING)
    before = market.balance("escrow_hold", escrow.id)
    first = order(ApproveMilestone, escrow)
    refusal = market.apply(first).refusal
    assert refusal is not None
    assert (refusal.code, refusal.kind.retry_may_help) == ("fee_policy_not_found", True)
    assert market.escrow(escrow) == escrow
    assert market.balance("escrow_hold", escrow.id) == before
    market.charge_fees({"release": "0.10", "refund": "0"})
    retried = market.do(ApproveMilestone, escrow)
    assert (retried.released, retried.state) == (150000, State.MILESTONE_APPROVED)
    assert market.apply(first).refusal == refusal


def test_edge_30_a_refund_of_more_than_is_refundable_is_refused_with_what_is(market: Market) -> None:
    """``refund_amount_mismatch`` carries ``refundable``, nothing moves, and asking for exactly that works."""
    escrow = market.at(State.FUNDED)
    refusal = market.refused(Refund, escrow, amount=500001)
    assert (refusal.code, refusal.details) == ("refund_amount_mismatch", {"refundable": 500000})
    assert market.escrow(escrow) == escrow
    assert market.do(Refund, escrow, amount=500000).state == State.REFUNDED
    assert market.balance("wallet", "alice") == 10**9


def test_edge_30_a_reversal_of_more_than_a_milestone_still_holds_is_refused(market: Market) -> None:
    """After a part went back, only the rest of the milestone can, whatever the whole escrow holds."""
    escrow = market.do(ReverseMilestone, market.at(State.IN_PROGRESS), amount=100000)
    refusal = market.refused(ReverseMilestone, escrow, amount=50001)
    assert (refusal.code, refusal.details) == ("refund_amount_mismatch", {"refundable": 50000})
    assert market.balance("escrow_hold", escrow.id) == 400000


def test_edge_33_an_agreement_cannot_be_amended_after_funding(market: Market) -> None:
    """What was agreed on is what was funded: the amounts in the books stay."""
    escrow = market.at(State.FUNDED)
    assert market.refused(Amend, escrow, amount=1).code == "invalid_transition"
    assert market.escrow(escrow) == escrow


def test_edge_40_cancelling_what_is_left_returns_it_and_no_unit_stays_behind(market: Market) -> None:
    """With two milestones released, cancelling returns the third to the buyer and ends the escrow at zero."""
    escrow = market.at(State.MILESTONE_PENDING)
    escrow = market.do(ApproveMilestone, escrow)
    escrow = market.do(ApproveMilestone, market.do(SubmitMilestone, escrow, milestone=2), milestone=2)
    ended = market.do(Cancel, escrow)
    assert (ended.state, ended.held, ended.released, ended.refunded) == (State.CANCELLED, 0, 350000, 150000)
    assert [one.status for one in ended.milestones] == [MilestoneStatus.APPROVED] * 2 + [MilestoneStatus.CANCELLED]
    assert market.balance("escrow_hold", escrow.id) == 0
    assert market.balance("payable", "bob") == 315000
    assert market.balance("wallet", "alice") == 10**9 - 350000


def test_completing_releases_a_rest_that_no_milestone_claims(market: Market) -> None:
    """Milestones may sum below the amount; completion releases all that is held in one settlement."""
    escrow = market.at(State.IN_PROGRESS, milestones=(150000,))
    assert market.do(Complete, escrow).released == 500000
    assert [row["total"] for row in reads.settlements(market.engine, escrow.id)] == [500000]


def test_a_settlement_says_by_which_policy_rule_rate_and_steps_it_was_divided(market: Market) -> None:
    """The row carries version, rule, rate and every step, and the policy it names can still be read."""
    escrow = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    market.charge_fees({"release": "0.20"})
    (row,) = reads.settlements(market.engine, escrow.id)
    assert (row["total"], row["platform_fee"], row["seller_payout"], row["buyer_refund"]) == (150000, 15000, 135000, 0)
    assert (row["fee_policy_version"], str(row["fee_rate"])) == (1, "0.10")
    assert row["fee_rule"]
    assert row["fee_steps"]


def test_every_command_leaves_an_audit_row_and_a_refused_one_moves_nothing_else(market: Market) -> None:
    """Accepted or refused: who, what, when, with the version before and after."""
    escrow = market.at(State.FUNDED)
    market.refused(ApproveMilestone, escrow)
    market.do(StartWork, escrow)
    assert market.answers(escrow) == [
        ("create", "accepted"),
        ("fund", "accepted"),
        ("approve_milestone", "invalid_transition"),
        ("start_work", "accepted"),
    ]
    refused, started = reads.audit(market.engine, escrow.id)[-2:]
    assert (refused["actor_role"], refused["actor_party"], refused["message"] is not None) == ("buyer", "alice", True)
    assert (refused["before_version"], refused["after_version"]) == (2, 2)
    assert (started["before_version"], started["after_version"]) == (2, 3)
    assert market.events(escrow)[-2:] == ["command.refused", "escrow.started"]
    assert market.balance("escrow_hold", escrow.id) == 500000


def test_a_refusal_given_elsewhere_is_recorded_as_the_commands_outcome(market: Market) -> None:
    """``record_refusal`` leaves audit row and event, once, and the id then stands for that refusal."""
    escrow = market.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, escrow)
    refusal = Refusal(code=ErrorCode.FORBIDDEN.code, message="not you", details={"actor": "buyer:alice"})
    for _ in range(2):
        assert market.books.record_refusal(approve, refusal).refusal == refusal
    assert market.answers(escrow)[-2:] == [("submit_milestone", "accepted"), ("approve_milestone", "forbidden")]
    assert market.events(escrow)[-1] == "command.refused"
    assert market.apply(approve).refusal == refusal
    assert market.escrow(escrow).released == 0


def test_a_refusal_that_comes_after_the_commands_success_changes_nothing(market: Market) -> None:
    """A late refusal of a command that was applied answers the stored success."""
    approve = order(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    done = market.apply(approve)
    assert market.books.record_refusal(approve, Refusal(code="forbidden", message="late")) == done


@pytest.mark.parametrize("kind", [Fund, Cancel])
def test_a_command_for_an_escrow_that_does_not_exist_is_not_found_and_leaves_no_row(
    market: Market, kind: type[Fund] | type[Cancel]
) -> None:
    """There is nothing to record it against."""
    before = rows(market)
    outcome = market.apply(kind(id="nowhere", escrow=new_id("esc"), actor=OPERATOR))
    assert outcome.refusal is not None
    assert outcome.refusal.code == "not_found"
    assert rows(market) == before


def test_creating_for_an_unknown_tenant_is_not_found_and_twice_is_already_exists(market: Market) -> None:
    """An escrow's id is taken once, by an existing tenant."""
    unknown = market.apply(a_create())
    assert unknown.refusal is not None
    assert unknown.refusal.code == "not_found"
    escrow = market.create()
    second = market.apply(a_create(tenant=market.tenant, escrow=escrow.id))
    assert second.refusal is not None
    assert second.refusal.code == "already_exists"
    assert market.escrow(escrow) == escrow


def test_what_is_read_back_is_what_was_decided(market: Market) -> None:
    """The snapshot that a command answers is, to the last field, the one that PostgreSQL gives to the next."""
    release = ReleaseOverride(
        review_window=timedelta(days=3), reminders=(timedelta(hours=36, microseconds=1),), evidence_required=True
    )
    metadata = {"order": "42", "note": 'it\'s "quoted" \\ and ü 漢'}
    escrow = market.create(category="design", metadata=metadata, release=release)
    evidence = (Evidence(name="shot", url="https://example.org/a.png", note="line 1\nline 2 \\u0000"),)
    for kind, fields in (
        (Fund, {}),
        (StartWork, {}),
        (SubmitMilestone, {"evidence": evidence}),
        (ReverseMilestone, {"amount": 1}),
        (RaiseDispute, {"milestones": (2,), "evidence": evidence}),
        (ApproveMilestone, {}),
    ):
        escrow = market.do(kind, escrow, **fields)
        assert market.escrow(escrow) == escrow
        assert market.books.read(escrow.id) == escrow


def test_a_stale_snapshot_is_never_written_over_a_newer_one(market: Market, app: Connection) -> None:
    """Should a bug ever get past the row lock, the version guard refuses and nothing of the decision is written."""
    stale = market.at(State.MILESTONE_PENDING)
    market.do(ReverseMilestone, stale, amount=1, by=SELLER)
    approve = order(ApproveMilestone, stale)
    decision = decide(stale, approve, policies(), now())
    assert isinstance(decision, Decision)
    batch = Batch(market.tenant, stale, now())
    batch.accept(approve, stale, decision)
    with pytest.raises(errors.NotNullViolation, match="version"):
        batch.write(app)
    app.rollback()
    current = read_escrow(app, stale.id)
    assert current is not None
    assert (current.version, current.released, market.count("settlement", stale)) == (stale.version + 1, 0, 1)


def test_a_live_tenant_has_no_clock_to_move_and_a_test_clock_never_goes_back(market: Market) -> None:
    """Moving is refused to live and unknown tenants by name; going back leaves the clock where it is."""
    live = new_id("ten")
    tenants.create_tenant(market.engine, live, "Live", "EUR", live=True)
    for tenant, code in ((live, "forbidden"), (new_id("ten"), "not_found")):
        with pytest.raises(RefusedError) as refused:
            tenants.move_clock(market.engine, tenant, timedelta(days=1))
        assert refused.value.refusal.code == code
    assert tenants.move_clock(market.engine, market.tenant, timedelta(days=2)) == 2 * 86400
    assert tenants.move_clock(market.engine, market.tenant, timedelta(days=1)) == 2 * 86400


def test_a_policy_written_twice_has_one_version_and_a_changed_one_a_second(market: Market) -> None:
    """Versions count up per kind, and the same document again writes nothing."""
    assert market.charge_fees({"release": "0.10", "refund": "0", "split": "0.10", "reversal": "0"}) == 1
    assert market.charge_fees({"release": "0.11"}) == 2
    assert market.charge_fees({"release": "0.10", "refund": "0", "split": "0.10", "reversal": "0"}) == 3
