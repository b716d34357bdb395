"""The books behind a closed door: seals are checked in the transaction, and handed out where workflows need them."""

from typing import Any, Final

import pytest

from ledger import reads, tenants
from ledger.books import Books
from ledger.engine import connect, for_tenant
from ledger.keyring import Keyring
from ledger.seals import Seals
from models.commands import ApproveMilestone, Command, Fund, StartWork, SubmitMilestone
from models.errors import ErrorCode, Refusal, RefusedError
from models.escrow import Escrow
from models.outcome import Outcome
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.states import State
from tests.builders import a_create, new_id, order
from tests.market import Market
from tests.servers import Servers

SEALS: Final = Seals(Keyring({"k1": bytes(32)}))
BY_CARD: Final[dict[str, Any]] = {"source": "gateway", "payment_method": "pm_card_visa"}
NOT_NOW: Final = Refusal(code=ErrorCode.INVALID_TRANSITION.code, message="not now")


def strict(market: Market) -> Books:
    """The market's books, as a worker has them."""
    return Books(market.engine, seals=SEALS)


def code(outcome: Outcome) -> str | None:
    """What became of a command."""
    return outcome.refusal.code if outcome.refusal else None


def sealed(market: Market, command: Command) -> Command:
    """The command with a seal for the market's tenant."""
    return SEALS.seal(command, market.tenant)


def test_an_unsealed_command_leaves_a_record_and_uses_up_no_id(market: Market) -> None:
    """Over and over: each attempt is a row of a whole chain; then the command itself is taken under its id."""
    escrow, books = market.at(State.FUNDED), strict(market)
    start = order(StartWork, escrow)
    assert [code(books.apply(start)) for _ in range(3)] == ["unsealed_command"] * 3
    assert market.answers(escrow)[-3:] == [("start_work", "unsealed_command")] * 3
    assert market.events(escrow)[-3:] == ["command.refused"] * 3
    # Not even within one millisecond, which is the front part of an id, are two of them the same.
    for rows in (reads.audit(market.engine, escrow.id), reads.events(market.engine, escrow.id)):
        assert len({row["id"][-16:] for row in rows[-3:]}) == 3
    assert code(books.apply(sealed(market, start))) is None
    assert code(books.apply(start)) == "unsealed_command"  # nor does it answer what was decided


def test_an_unsealed_create_is_on_record_with_the_tenant_it_names_and_makes_nothing(market: Market) -> None:
    """Where there is no such tenant there is no place for a record either."""
    create, books = a_create(tenant=market.tenant), strict(market)
    assert [code(books.apply(create)) for _ in range(2)] == ["unsealed_command"] * 2
    assert len(reads.audit(market.engine, create.escrow)) == 2
    assert reads.escrow(market.engine, create.escrow) is None
    assert code(books.apply(a_create(tenant=new_id("ten")))) == "not_found"
    assert code(books.apply(sealed(market, create))) is None


def test_no_deadline_acts_on_behalf_of_an_unsealed_command(market: Market) -> None:
    """Nothing of the escrow changes, not even what would be due."""
    escrow, books = market.at(State.MILESTONE_PENDING), strict(market)
    tenants.move_clock(market.engine, market.tenant, escrow.deadlines[0].due_at - escrow.updated_at)
    assert code(books.apply(order(ApproveMilestone, escrow))) == "unsealed_command"
    assert market.escrow(escrow).version == escrow.version


def test_what_a_funding_has_to_charge_is_told_to_a_sealed_command_and_comes_sealed(market: Market) -> None:
    """The order is for exactly what is due; an order that is not sealed is not written down."""
    escrow, books = market.at(State.CREATED), strict(market)
    fund = order(Fund, escrow, **BY_CARD)
    unsealed = books.amount_due(fund)
    assert (unsealed.amount, unsealed.order) == (None, None)
    due = books.amount_due(sealed(market, fund))
    assert due.order is not None
    assert (due.order.amount, due.order.party, due.order.payment_method) == (500000, "alice", "pm_card_visa")
    with pytest.raises(RefusedError) as refused:
        books.begin_charge(due.order.model_copy(update={"amount": 1}))
    assert refused.value.refusal.code == "unsealed_command"
    assert books.begin_charge(due.order).status == "pending"
    assert books.begin_charge(due.order).status == "pending"


def test_what_is_carried_along_comes_with_the_seal_of_the_request_for_it(market: Market) -> None:
    """The workflow that is told sends it on; the same again when the outcome is answered again."""
    policy = ReleasePolicy(payout=PayoutTerms(minimum=150000))
    tenants.put_policy(market.engine, market.tenant, "release", policy)
    first, second = market.at(State.MILESTONE_APPROVED), market.at(State.MILESTONE_PENDING)
    books = strict(market)
    approve = sealed(market, order(ApproveMilestone, second))
    outcome = books.apply(approve)
    (request,) = outcome.requests()
    assert request.escrow == first.id
    assert code(books.apply(request)) is None
    assert books.apply(approve) == outcome
    assert code(books.apply(request.model_copy(update={"seal": None}))) == "unsealed_command"


def test_the_api_records_a_refusal_under_its_own_role_for_its_own_tenant_only(servers: Servers, market: Market) -> None:
    """It may lock no row and change no escrow, and puts on record all the same; of another tenant it sees nothing."""
    engine = connect(servers.endpoints.api_database_url, 2)
    escrow, other = market.at(State.IN_PROGRESS), Market(servers.engine)
    submit = order(SubmitMilestone, escrow)
    try:
        mine, theirs = Books(for_tenant(engine, market.tenant)), Books(for_tenant(engine, other.tenant))
        outcome = mine.record_refusal(submit, NOT_NOW)
        assert (code(outcome), outcome.escrow) == ("invalid_transition", escrow)
        assert mine.record_refusal(submit, NOT_NOW) == outcome
        again = order(SubmitMilestone, escrow)
        assert theirs.record_refusal(again, NOT_NOW) == Outcome(refusal=_missing(escrow))
        assert Books(engine).record_refusal(again, NOT_NOW) == Outcome(refusal=_missing(escrow))
    finally:
        engine.dispose()
    assert market.answers(escrow).count(("submit_milestone", "invalid_transition")) == 1


def _missing(escrow: Escrow) -> Refusal:
    return Refusal(code=ErrorCode.NOT_FOUND.code, message=f"there is no escrow {escrow.id}")
