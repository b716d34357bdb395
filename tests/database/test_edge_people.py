"""The edge cases of people through the real books: who is blocked, unverified, gone; whose texts; where money goes."""

import json
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from ledger import reads, tenants
from ledger.audit import verify
from models.commands import (
    Actor,
    AddEvidence,
    ApproveMilestone,
    Cancel,
    Command,
    Complete,
    Fund,
    RaiseDispute,
    ReachDeadline,
    RecordPayout,
    Refund,
    RequestPayout,
    ResolveDispute,
    RetryPayout,
    ReverseMilestone,
    ReviewDispute,
    SendPayout,
    SubmitMilestone,
)
from models.errors import RefusedError
from models.escrow import Escrow, Payout
from models.fields import Evidence
from models.policies import CompliancePolicy, VerifiedAbove
from models.states import PayoutStatus, State
from tests.builders import BUYER, SELLER, a_create, order
from tests.market import KEYS, Market
from tests.telling import known

HELD = "court order 7/26"


def party(market: Market, name: str = "bob") -> dict[str, Any]:
    """A party's row."""
    query = text("SELECT * FROM party WHERE tenant_id = :tenant AND id = :party")
    with market.engine.connect() as connection:
        return dict(connection.execute(query, {"tenant": market.tenant, "party": name}).mappings().one())


def put(market: Market, who: str = "bob", **known: Any) -> None:
    """Tell something of a party."""
    tenants.put_party(market.engine, market.tenant, who, keys=KEYS, **known)


def latest(escrow: Escrow) -> Payout:
    """The latest payout."""
    return escrow.payouts[-1]


def returned(market: Market) -> Escrow:
    """An escrow whose payout arrived and came back days later."""
    escrow = market.do(SendPayout, market.at(State.MILESTONE_APPROVED))
    escrow = market.do(RecordPayout, escrow, outcome="paid", reference="tr_1")
    return market.do(RecordPayout, escrow, outcome="returned", reason="account closed")


def test_edge_13_a_payout_that_comes_back_marks_the_destination_invalid_and_is_payable_again(market: Market) -> None:
    """The seller and the operator can see which account it was, and why."""
    escrow = returned(market)
    row = party(market)
    assert (row["invalid_destination"], row["invalid_because"]) == (market.destination, "account closed")
    assert row["payout_destination"] == market.destination, "what the seller said stays said"
    assert (market.balance("payable", "bob"), latest(escrow).status) == (135000, PayoutStatus.RETURNED)
    assert "payout.returned" in market.events(escrow)


def test_edge_13_the_next_payout_to_that_destination_fails_with_the_reason_whichever_escrow_it_is_of(
    market: Market,
) -> None:
    """Nothing is booked as sent, so no gateway is asked; a destination given anew lets both go."""
    first = returned(market)
    second = market.do(SendPayout, market.at(State.MILESTONE_APPROVED))
    assert latest(second).status == PayoutStatus.FAILED
    assert latest(second).reason == f"the destination {market.destination} is invalid: account closed"
    assert market.balance("payout_in_transit", latest(second).id) == 0
    put(market, payout_destination="acct_new")
    assert party(market)["invalid_destination"] is None
    for escrow in (first, second):
        sent = market.do(SendPayout, market.do(RetryPayout, escrow))
        assert (latest(sent).status, latest(sent).destination) == (PayoutStatus.IN_TRANSIT, "acct_new")
    assert market.balance("payable", "bob") == 0


def test_edge_13_another_marketplaces_seller_of_the_same_id_is_not_touched(market: Market) -> None:
    """A party belongs to one tenant."""
    other = Market(market.engine)
    returned(market)
    assert party(other)["invalid_destination"] is None
    assert latest(other.do(SendPayout, other.at(State.MILESTONE_APPROVED))).status == PayoutStatus.IN_TRANSIT


@pytest.mark.parametrize(
    ("state", "kind", "by", "fields"),
    [
        (State.MILESTONE_PENDING, ApproveMilestone, SELLER, {}),
        (State.MILESTONE_PENDING, ApproveMilestone, Actor(role="buyer", party="mallory"), {}),
        (State.IN_PROGRESS, Complete, SELLER, {}),
        (State.DISPUTED, ReviewDispute, BUYER, {}),
        (State.DISPUTED, ReviewDispute, Actor(role="operator", party="alice"), {}),
        (State.FUNDED, Refund, BUYER, {}),
    ],
)
def test_edge_41_who_may_not_is_forbidden_and_the_attempt_is_audited(
    market: Market, state: State, kind: type[Command], by: Actor, fields: dict[str, Any]
) -> None:
    """Own work, own dispute, somebody else's escrow: nothing changes but the record of who tried."""
    escrow = market.at(state)
    assert market.refused(kind, escrow, by=by, **fields).code == "forbidden"
    assert market.escrow(escrow) == escrow
    assert market.answers(escrow)[-1][1] == "forbidden"
    last = reads.audit(market.engine, escrow.id)[-1]
    assert (last["actor_role"], last["actor_party"]) == (by.role, by.party)


def test_edge_41_the_buyer_cannot_resolve_own_dispute_not_even_as_an_operator(market: Market) -> None:
    """The resolver is no party of it, and both attempts are on record."""
    escrow = market.do(ReviewDispute, market.at(State.DISPUTED))
    for by in (BUYER, Actor(role="operator", party="alice"), Actor(role="operator", party="bob")):
        refusal = market.refused(ResolveDispute, escrow, by=by, resolution="buyer_favor")
        assert refusal.code == "forbidden"
    assert [what for name, what in market.answers(escrow) if name == "resolve_dispute"] == ["forbidden"] * 3


def verified_above(market: Market, **limits: int) -> None:
    """Write a compliance policy with these limits."""
    policy = CompliancePolicy(verified_above=VerifiedAbove(**limits))
    tenants.put_policy(market.engine, market.tenant, "compliance", policy)


def test_edge_42_papers_that_expire_between_approval_and_payout_keep_the_release_and_hold_the_payout(
    market: Market,
) -> None:
    """Nothing moves, the reason is visible, and once they are in order the payout goes by itself within a day."""
    verified_above(market, payout=100000)
    put(market, kyc_status="verified")
    escrow = market.at(State.MILESTONE_APPROVED)
    assert latest(escrow).going
    put(market, kyc_status="expired")
    escrow = market.do(SendPayout, escrow)
    assert (latest(escrow).status, latest(escrow).hold, escrow.released) == (PayoutStatus.DUE, "kyc", 150000)
    assert market.balance("payable", "bob") == 135000
    assert escrow.attention is not None
    assert "verified, and is expired" in escrow.attention
    put(market, kyc_status="verified")
    tenants.move_clock(market.engine, market.tenant, timedelta(days=1, hours=1))
    market.apply(market_deadline(market, escrow))
    escrow = market.escrow(escrow)
    assert latest(escrow).going
    assert latest(market.do(SendPayout, escrow)).status == PayoutStatus.IN_TRANSIT


def market_deadline(market: Market, escrow: Escrow) -> ReachDeadline:
    """The system's command for the next deadline."""
    return order(ReachDeadline, market.escrow(escrow))


def test_edge_42_funding_above_the_limit_waits_for_the_buyers_papers(market: Market) -> None:
    """A refusal that says so, and the same step works once they are there."""
    verified_above(market, funding=499999)
    escrow = market.create()
    refusal = market.refused(Fund, escrow)
    assert (refusal.code, refusal.details["kyc_status"]) == ("kyc_required", "none")
    put(market, "alice", kyc_status="verified")
    assert market.do(Fund, escrow).state == State.FUNDED


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_edge_43_a_blocked_partys_money_freezes_until_it_is_unblocked(market: Market, who: str) -> None:
    """Funding, release, refund, reversal are refused with the reason; afterwards all of them are possible."""
    created, funded, pending = (market.at(state) for state in (State.CREATED, State.FUNDED, State.MILESTONE_PENDING))
    tenants.block_party(market.engine, market.tenant, who, HELD)
    for kind, escrow, fields in (
        (Fund, created, {}),
        (Refund, funded, {}),
        (Cancel, funded, {}),
        (ApproveMilestone, pending, {}),
        (ReverseMilestone, pending, {"amount": 1}),
    ):
        refusal = market.refused(kind, escrow, **fields)
        assert (refusal.code, refusal.details["reason"]) == ("party_blocked", HELD)
        assert market.escrow(escrow) == escrow
    tenants.block_party(market.engine, market.tenant, who, None)
    assert market.do(Fund, created).state == State.FUNDED
    assert market.do(Refund, funded).state == State.REFUNDED
    assert market.do(ApproveMilestone, pending).released == 150000


def test_edge_43_silence_does_not_release_to_a_blocked_seller(market: Market) -> None:
    """The deadline is put off and says why; after the block it acts."""
    escrow = market.at(State.MILESTONE_PENDING)
    tenants.block_party(market.engine, market.tenant, "bob", HELD)
    tenants.move_clock(market.engine, market.tenant, timedelta(days=15))
    market.apply(market_deadline(market, escrow))
    waiting = market.escrow(escrow)
    assert (waiting.released, waiting.state) == (0, State.MILESTONE_PENDING)
    assert waiting.attention is not None
    assert HELD in waiting.attention
    tenants.block_party(market.engine, market.tenant, "bob", None)
    tenants.move_clock(market.engine, market.tenant, timedelta(days=16))
    market.apply(market_deadline(market, escrow))
    assert market.escrow(escrow).released == 150000


def test_edge_43_a_payout_due_to_a_seller_who_is_blocked_meanwhile_is_not_sent(market: Market) -> None:
    """It waits with the reason, and asking for it is answered with the same."""
    escrow = market.at(State.MILESTONE_APPROVED)
    tenants.block_party(market.engine, market.tenant, "bob", HELD)
    escrow = market.do(SendPayout, escrow)
    assert (latest(escrow).hold, latest(escrow).reason) == ("blocked", f"the seller is blocked: {HELD}")
    assert market.balance("payable", "bob") == 135000
    assert market.refused(RequestPayout, escrow).code == "payout_held"
    tenants.block_party(market.engine, market.tenant, "bob", None)
    assert latest(market.do(RequestPayout, escrow)).going


def test_edge_43_a_block_needs_a_reason(market: Market) -> None:
    """People will ask."""
    with pytest.raises(RefusedError, match="say why"):
        tenants.block_party(market.engine, market.tenant, "bob", "  ")


NASTY = [
    "<script>alert(1)</script>",
    "'; DROP TABLE escrow; --",
    "\u202egnp.exe\u202c and \u200f\u05e9\u05dc\u05d5\u05dd",
    "{{ 7 * 7 }} ${jndi:ldap://x} %s %(tenant)s :tenant {0}",
    '"quotes" \\backslash\\ `tick` \\u0000 &amp;',
    "งานแต่งงาน 💍 Zalgo: Z̸͎̈",
]


@pytest.mark.parametrize("words", NASTY)
def test_edge_44_words_are_stored_as_they_are_and_do_nothing(market: Market, words: str) -> None:
    """In every text of the domain, read back to the letter from the snapshot, the audit and the events."""
    evidence = (Evidence(name=words, url="https://example.com/p.jpg", note=words),)
    escrow = market.at(State.IN_PROGRESS, title=words, metadata={"note": words})
    escrow = market.do(SubmitMilestone, escrow, evidence=evidence)
    escrow = market.do(RaiseDispute, escrow, reason=words, description=words, evidence=evidence)
    escrow = market.do(AddEvidence, escrow, statement=words, evidence=evidence)
    stored = market.escrow(escrow)
    assert (stored.title, stored.metadata["note"]) == (words, words)
    assert stored.milestones[0].evidence == stored.disputes[0].evidence == evidence
    assert (stored.disputes[0].reason, stored.disputes[0].description) == (words, words)
    assert stored.disputes[0].answers[0].statement == words
    told = json.dumps([row["details"] for row in reads.audit(market.engine, escrow.id)], default=str)
    assert json.dumps(words)[1:-1] in told
    assert verify(market.engine, market.tenant).findings == []


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x08", "\x7f", "\r"])
def test_edge_44_control_characters_are_refused_in_every_text(character: str) -> None:
    """Before anything is stored: a terminal, a log and PostgreSQL each would suffer from another one."""
    words = f"before{character}after"
    for wrong in ({"title": words}, {"metadata": {"note": words}}):
        with pytest.raises(ValidationError):
            a_create(**wrong)
    for field in ("name", "note", "url"):
        with pytest.raises(ValidationError):
            Evidence.model_validate({"name": "photo"} | {field: words})
    with pytest.raises(ValidationError, match="statement"):
        AddEvidence.model_validate({"actor": SELLER, "statement": words})


def test_edge_44_half_a_character_is_refused() -> None:
    """A lone surrogate is no text: it could be neither stored nor sent."""
    with pytest.raises(ValidationError):
        a_create(title="half \ud83d a smile")


def test_edge_44_a_megabyte_of_evidence_is_refused_and_says_what_to_do_instead(market: Market) -> None:
    """As one list it never becomes a command; in many it is refused when the escrow would become too large."""
    note = "x" * 2000
    with pytest.raises(ValidationError, match="put the files elsewhere and give url and sha256"):
        AddEvidence.model_validate_json(
            json.dumps(
                {"evidence": [{"name": "photo", "note": note}] * 20, "actor": {"role": "seller", "party": "bob"}}
            )
        )
    with pytest.raises(ValidationError, match="at most 20 items"):
        AddEvidence.model_validate_json(json.dumps({"evidence": [{"name": "photo"}] * 21}))
    escrow = market.at(State.DISPUTED)
    evidence = tuple(Evidence(name="photo", note=note) for _ in range(7))
    refusal = None
    for _ in range(70):
        outcome = market.apply(more(escrow, evidence))
        refusal = outcome.refusal
        if refusal:
            break
    assert refusal is not None
    assert refusal.code == "invalid_command"
    assert "point to the evidence by url" in refusal.message
    assert market.mediate(escrow).held == 500000, "a way out still fits in"


def more(escrow: Escrow, evidence: tuple[Evidence, ...]) -> AddEvidence:
    """Another piece of one side's word."""
    return order(AddEvidence, escrow, evidence=evidence)


def test_edge_46_a_party_who_asks_for_deletion_is_forgotten_and_the_money_rows_and_hashes_stay(market: Market) -> None:
    """Name, address and language go; the books still tie, the chain still verifies, and a running deal is paid out."""
    put(market, name="Bob Baumeister", email="bob@example.com", language="th")
    escrow = market.at(State.MILESTONE_APPROVED)
    before = {table: rows(market, table) for table in ("entry", "settlement", "audit")}
    tenants.erase_party(market.engine, KEYS, market.tenant, "bob")
    bob = known(market, "bob")
    assert (bob.name, bob.email, bob.language) == (None, None, None)
    assert {table: rows(market, table) for table in before} == before
    assert verify(market.engine, market.tenant).findings == []
    assert market.escrow(escrow) == escrow
    escrow = market.do(RecordPayout, market.do(SendPayout, escrow), outcome="paid")
    assert latest(escrow).status == PayoutStatus.PAID


def rows(market: Market, table: str) -> list[str]:
    """A tenant's rows of a table, to the letter."""
    query = text(f"SELECT t::text FROM {table} t WHERE tenant_id = :tenant ORDER BY id")
    with market.engine.connect() as connection:
        return list(connection.execute(query, {"tenant": market.tenant}).scalars())


def test_edge_46_no_name_or_address_is_in_what_cannot_be_deleted(market: Market) -> None:
    """Only ``personal_data`` knows who somebody is, encrypted: all else has an opaque id, in which no address fits."""
    put(market, "alice", name="Alice Abendroth", email="alice@example.com")
    escrow = market.at(State.COMPLETED)
    market.do(SendPayout, escrow)
    kept = (
        "party",
        "personal_data",
        "entry",
        "settlement",
        "audit",
        "event",
        "escrow",
        "payout",
        "command",
        "ledger_transaction",
    )
    with market.engine.connect() as connection:
        for table in kept:
            found = connection.execute(
                text(f"SELECT count(*) FROM {table} t WHERE t::text ILIKE '%Abendroth%' OR t::text ILIKE '%alice@%'")
            )
            assert found.scalar_one() == 0, table
    with pytest.raises(ValidationError):
        a_create(buyer="alice@example.com")


def test_edge_46_what_is_still_blocked_stays_blocked(market: Market) -> None:
    """Asking for deletion lifts no freeze and forgets no invalid destination."""
    returned(market)
    tenants.block_party(market.engine, market.tenant, "bob", HELD)
    tenants.erase_party(market.engine, KEYS, market.tenant, "bob")
    row = party(market)
    assert (row["blocked_because"], row["invalid_destination"]) == (HELD, market.destination)
