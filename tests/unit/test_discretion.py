"""What buyer and seller may read: never why somebody is blocked, and the buyer nothing of the seller's purse."""

from typing import Any

import pytest

from models.commands import (
    ApproveMilestone,
    Fund,
    RecordPayout,
    RequestPayout,
    Role,
    SendPayout,
    StartWork,
    SubmitMilestone,
)
from models.deadlines import defer
from models.decision import Case
from models.discretion import (
    DECLINED,
    FOR_THE_PLATFORM,
    FROZEN,
    ON_HOLD,
    escrow_for,
    event_for,
    refusal_for,
    types_for,
)
from models.errors import ErrorCode, Refusal
from models.escrow import Escrow
from models.facts import Party
from models.notification_texts import EVENTS
from models.payout_terms import PayoutTerms
from models.policies import CompliancePolicy, Policies, ReleasePolicy, VerifiedAbove
from models.states import PayoutStatus, State
from models.webhooks import PUBLISHED
from models.webhooks import WITHHELD as WITHHELD_DATA
from tests.builders import Deal, order, policies
from tests.unit.test_notifications import emitted

WHY = "name on list 7: Fraud"
SUSPECT = Party(blocked_because=WHY)
PRIVATE = ("acct_bob", "kyc", "verified", WHY, "blocked")
STAFF: tuple[Role, ...] = ("operator", "platform", "system")
WITHHELD = {ErrorCode.PARTY_BLOCKED, ErrorCode.PAYOUT_HELD, ErrorCode.KYC_REQUIRED, ErrorCode.PAYMENT_DECLINED}
POSSIBLE = PUBLISHED | WITHHELD_DATA  # every field that any event has
PARTIES: tuple[Role, ...] = ("buyer", "seller")


def released(policies_: Policies | None = None, seller: Party | None = None) -> Deal:
    """A deal with one payout of 135000, of a seller about whom that was known before the release."""
    deal = Deal.at(State.MILESTONE_PENDING, policies_)
    deal.seller = seller or Party()
    deal.do(ApproveMilestone)
    return deal


def held_as_blocked() -> Deal:
    """A payout that became due before its seller was blocked, and was to be sent after."""
    deal = released()
    deal.seller = SUSPECT
    deal.do(SendPayout)
    assert deal.escrow.payouts[0].hold == "blocked"
    return deal


def text(shown: Escrow | Refusal) -> str:
    """Everything that is shown."""
    return f"{shown.model_dump_json()} {shown.attention if isinstance(shown, Escrow) else ''}"


@pytest.mark.parametrize("role", PARTIES)
def test_a_party_never_reads_why_somebody_is_blocked(role: Role) -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.seller = SUSPECT
    refusal = deal.refused(ApproveMilestone)
    assert WHY in refusal.message
    told = refusal_for(role, refusal)
    assert (told.code, told.message, told.details) == ("party_blocked", FROZEN, {})
    assert told.kind is refusal.kind


@pytest.mark.parametrize("role", PARTIES)
def test_a_party_never_reads_that_a_payout_is_held_for_a_block(role: Role) -> None:
    refusal = held_as_blocked().refused(RequestPayout)
    assert (refusal.code, refusal.details["hold"], WHY in refusal.message) == ("payout_held", "blocked", True)
    told = refusal_for(role, refusal)
    assert (told.code, told.message, told.details) == ("payout_held", ON_HOLD, {})


def test_the_seller_reads_what_the_seller_can_do_about_a_payout_and_the_buyer_does_not() -> None:
    deal = released(policies(compliance=CompliancePolicy(verified_above=VerifiedAbove(payout=0))))
    refusal = deal.refused(RequestPayout)
    assert (refusal.code, refusal.details["hold"]) == ("payout_held", "kyc")
    assert refusal_for("seller", refusal) == refusal
    assert refusal_for("buyer", refusal).message == ON_HOLD


def test_the_buyer_reads_of_the_own_verification_and_the_seller_does_not() -> None:
    deal = Deal.at(State.CREATED, policies(compliance=CompliancePolicy(verified_above=VerifiedAbove(funding=0))))
    refusal = deal.refused(Fund)
    assert refusal_for("buyer", refusal) == refusal
    told = refusal_for("seller", refusal)
    assert (told.code, told.details) == ("kyc_required", {})
    assert "none" not in told.message


@pytest.mark.parametrize("kind", [kind for kind in ErrorCode if kind not in WITHHELD])
def test_every_other_refusal_is_for_everybody(kind: ErrorCode) -> None:
    refusal = Refusal(code=kind.code, message="a sentence", details={"reason": "a reason"})
    assert {role: refusal_for(role, refusal) for role in PARTIES} == dict.fromkeys(PARTIES, refusal)


@pytest.mark.parametrize("role", STAFF)
def test_servers_and_operators_read_all_of_it(role: Role) -> None:
    deal = held_as_blocked()
    refusal = deal.refused(RequestPayout)
    assert refusal_for(role, refusal) == refusal
    assert escrow_for(role, deal.escrow) == deal.escrow


def test_the_seller_sees_a_blocked_payout_wait_without_the_reason() -> None:
    escrow = held_as_blocked().escrow
    assert WHY in text(escrow)
    shown = escrow_for("seller", escrow)
    (payout,) = shown.payouts
    assert payout == escrow.payouts[0].model_copy(update={"reason": ON_HOLD})
    assert shown.attention == f"payout {payout.id} is held: {ON_HOLD}"
    assert WHY not in text(shown)


def test_the_seller_sees_the_own_payout_whole() -> None:
    deal = released(policies(compliance=CompliancePolicy(verified_above=VerifiedAbove(payout=0))))
    assert escrow_for("seller", deal.escrow) == deal.escrow
    paid = released()
    paid.do(SendPayout)
    assert escrow_for("seller", paid.escrow) == paid.escrow
    assert paid.escrow.payouts[0].destination == "acct_bob"


@pytest.mark.parametrize("held", ["blocked", "kyc"])
def test_the_buyer_sees_a_payout_that_compliance_holds_as_one_that_is_due(held: str) -> None:
    deal = held_as_blocked()
    if held == "kyc":
        deal = released(policies(compliance=CompliancePolicy(verified_above=VerifiedAbove(payout=0))))
    assert deal.escrow.payouts[0].hold == held
    shown = escrow_for("buyer", deal.escrow)
    (payout,) = shown.payouts
    assert (payout.status, payout.hold, payout.reason, payout.amount) == (PayoutStatus.DUE, None, None, 135000)
    assert shown.attention is None
    assert not any(one.payout for one in shown.deadlines)
    assert not [one for one in PRIVATE if one in shown.model_dump_json(exclude={"disputes", "release"})]


def test_the_buyer_sees_neither_account_nor_reference_nor_why_a_payout_failed() -> None:
    deal = released()
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="failed", reference="tr_1", reason="account acct_bob is closed")
    assert any(one.payout for one in deal.escrow.deadlines)
    shown = escrow_for("buyer", deal.escrow)
    assert shown.payouts[0].status == PayoutStatus.FAILED
    assert shown.attention == f"payout {shown.payouts[0].id} is failed: the payout has not arrived yet"
    assert not any(one.payout for one in shown.deadlines)
    assert not [one for one in ("acct_bob", "tr_1", "closed") if one in text(shown)]


@pytest.mark.parametrize(("owes", "status"), [(5000, "in_transit"), (200000, "cancelled")])
def test_the_buyer_reads_what_was_earned_whatever_the_seller_owed(owes: int, status: str) -> None:
    """Owed since before the payout was sent: 135000 were earned, 130000 or nothing goes out."""
    deal = released()
    deal.seller = Party(receivable=owes)
    deal.do(SendPayout)
    assert (deal.escrow.payouts[0].status, deal.escrow.payouts[0].netted) == (status, min(owes, 135000))
    (payout,) = escrow_for("buyer", deal.escrow).payouts
    assert (payout.amount, payout.netted) == (135000, 0)


def test_what_was_netted_at_the_release_is_not_the_buyers_business_either() -> None:
    deal = released(seller=Party(receivable=5000))
    assert (deal.escrow.payouts[0].amount, deal.escrow.payouts[0].netted) == (130000, 5000)
    (payout,) = escrow_for("buyer", deal.escrow).payouts
    assert (payout.amount, payout.netted) == (135000, 0)


@pytest.mark.parametrize(
    ("terms", "hold"),
    [({"trigger": "manual"}, "manual"), ({"minimum": 10**9}, None)],
)
def test_the_buyer_reads_of_the_terms_but_not_of_what_else_is_owed_to_the_seller(
    terms: dict[str, Any], hold: str | None
) -> None:
    deal = released(policies(release=ReleasePolicy(payout=PayoutTerms(**terms))))
    real = deal.escrow.payouts[0]
    (payout,) = escrow_for("buyer", deal.escrow).payouts
    assert (payout.hold, payout.reason) == (hold, real.reason if hold else None)
    assert escrow_for("seller", deal.escrow).payouts[0] == real


@pytest.mark.parametrize("role", PARTIES)
def test_a_deadline_that_a_block_put_off_does_not_say_why(role: Role) -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.seller = SUSPECT
    deadline = max(deal.escrow.deadlines, key=lambda one: one.due_at)
    refusal = deal.refused(ApproveMilestone)
    case = Case(deal.escrow, order(ApproveMilestone, deal.escrow), deal.policies, deal.now, deal.funds)
    escrow = defer(case, deadline, refusal, deal.now).escrow
    assert WHY in (escrow.attention or "")
    shown = escrow_for(role, escrow)
    assert shown.attention == f"party_blocked: {FROZEN}"
    assert WHY not in text(shown)
    assert [one.due_at for one in shown.deadlines] == [one.due_at for one in escrow.deadlines]


@pytest.mark.parametrize("role", PARTIES)
def test_nothing_else_of_the_escrow_changes(role: Role) -> None:
    escrow = held_as_blocked().escrow
    shown = escrow_for(role, escrow)
    assert shown.model_dump(exclude={"payouts", "deadlines"}) == escrow.model_dump(exclude={"payouts", "deadlines"})


def test_a_new_field_of_a_payout_stays_unsaid_to_the_other_side() -> None:
    deal = Deal.agreed()
    for kind in (Fund, StartWork, SubmitMilestone, ApproveMilestone):
        deal.do(kind)
    loud = deal.escrow.payouts[0].model_copy(update={"requested": True, "enough": True, "reference": "tr_1"})
    (payout,) = escrow_for("buyer", deal.escrow.model_copy(update={"payouts": (loud,)})).payouts
    assert (payout.requested, payout.enough, payout.reference) == (False, False, None)


@pytest.mark.parametrize("role", PARTIES)
def test_a_party_does_not_read_the_gateways_own_words_about_a_card(role: Role) -> None:
    raw = "generic_decline: Stripe refused: risk score 91 (req_1)"
    refusal = Refusal(code="payment_declined", message=f"the charge did not go through: {raw}", details={"reason": raw})
    told = refusal_for(role, refusal)
    assert (told.code, told.message, told.details) == ("payment_declined", DECLINED, {})


def test_every_event_that_there_is_is_sorted_by_who_reads_of_it() -> None:
    """A new event is for the platform alone on purpose, or some of its fields are listed for a side."""
    listed = {role: types_for(role) or frozenset() for role in PARTIES}
    told = listed["buyer"] | listed["seller"]
    assert told.isdisjoint(FOR_THE_PLATFORM)
    assert told | FOR_THE_PLATFORM == EVENTS.keys()
    assert listed["seller"] - listed["buyer"] == {"payout.due"}


def test_no_field_is_listed_that_its_event_does_not_have() -> None:
    said: dict[str, set[str]] = {}
    for name, _, keys in emitted():
        said.setdefault(name, set()).update(keys)
    for role in PARTIES:
        for name in types_for(role) or ():
            everything = dict.fromkeys(POSSIBLE, "alice") | {"hold": "manual"}
            told = event_for(role, "alice", name, everything)
            assert told is not None
            assert told.keys() <= said[name], name


@pytest.mark.parametrize("role", PARTIES)
def test_an_event_or_a_field_that_nobody_sorted_stays_unsaid(role: Role) -> None:
    for name in ("escrow.invented", *FOR_THE_PLATFORM):
        assert event_for(role, "alice", name, {"command": "key-1", "amount": 5}) is None
    assert event_for(role, "alice", "escrow.created", {"amount": 5, "invented": WHY}) == {"amount": 5}


@pytest.mark.parametrize("hold", ["blocked", "kyc", "minimum", "invented", None])
def test_a_hold_that_is_not_the_buyers_business_did_not_happen_for_the_buyer(hold: str | None) -> None:
    data = {"payout": "pay_1", "amount": 130000, "hold": hold, "reason": WHY}
    assert event_for("buyer", "alice", "payout.held", data) is None
    known = hold in {"kyc", "minimum"}
    rest = {"hold": hold, "reason": WHY} if known else {"reason": ON_HOLD}
    assert event_for("seller", "bob", "payout.held", data) == {"payout": "pay_1", "amount": 130000} | rest


def test_the_buyer_reads_of_a_hold_by_the_terms_and_of_no_amount_that_is_sent() -> None:
    held = {"payout": "pay_1", "amount": 130000, "hold": "clearance", "reason": "until Monday"}
    told = {"payout": "pay_1", "hold": "clearance", "reason": "until Monday"}
    assert event_for("buyer", "alice", "payout.held", held) == told
    sent = {"payout": "pay_1", "amount": 130000, "reason": "account acct_bob is closed"}
    for name in ("sent", "paid", "unknown", "failed", "returned", "cancelled"):
        assert event_for("buyer", "alice", f"payout.{name}", sent) == {"payout": "pay_1"}
    assert event_for("seller", "bob", "payout.failed", sent) == sent


@pytest.mark.parametrize("name", ["receivable.recorded", "receivable.netted"])
def test_a_debt_is_told_to_whose_it_is(name: str) -> None:
    debt = {"party": "bob", "amount": 5000}
    assert event_for("seller", "bob", name, debt) == debt
    assert event_for("buyer", "alice", name, debt) is None
    assert event_for("seller", "bob", name, debt | {"party": "alice"}) is None


@pytest.mark.parametrize("role", STAFF)
def test_servers_and_operators_read_every_event_whole(role: Role) -> None:
    assert types_for(role) is None
    assert event_for(role, None, "invented", {"hold": "blocked"}) == {"hold": "blocked"}
