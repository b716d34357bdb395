"""Funding, the reserve and the wallet gate. Source: domain.md, section 7; edge case 4."""

import pytest

from models.commands import Amend, Fund
from models.decision import Decision
from models.errors import Refusal
from models.facts import Funds, Party
from models.policies import SpendPolicy
from models.postings import AccountKind
from models.rules.creation import blank
from models.states import State
from tests.builders import NOW, Deal, a_create, order, policies

RESERVE = policies(spend=SpendPolicy(reserve={"EUR": 10000}))
GATE = policies(spend=SpendPolicy(reserve={"EUR": 10000}, wallet_gate=True))


def test_funding_holds_the_whole_amount() -> None:
    escrow = Deal.at(State.FUNDED).escrow
    assert (escrow.funded, escrow.held, escrow.refundable) == (500000, 500000, 500000)


@pytest.mark.parametrize(("wallet", "enough"), [(509999, False), (510000, True)])
def test_funding_needs_the_amount_and_the_reserve_to_the_unit(wallet: int, enough: bool) -> None:
    deal = Deal.at(State.CREATED, RESERVE)
    deal.wallet = wallet
    answer = deal.respond(order(Fund, deal.escrow))
    assert isinstance(answer, Decision if enough else Refusal)


def test_a_short_wallet_gets_402_with_what_is_required_available_and_reserved() -> None:
    deal = Deal.at(State.CREATED, RESERVE)
    deal.wallet = 1000
    refusal = deal.refused(Fund)
    assert (refusal.code, refusal.kind.status, refusal.kind.retry_may_help) == ("payment_required", 402, True)
    assert refusal.details == {
        "required": 510000, "available": 1000, "reserve": 10000, "currency": "EUR",
        "top_up_url": "/v1/wallets/alice/topups",
    }  # fmt: skip


def test_a_reserve_of_another_currency_does_not_bind() -> None:
    deal = Deal.at(State.CREATED, RESERVE, currency="USD")
    deal.wallet = 500000
    deal.do(Fund)


def test_a_wallet_of_which_nothing_is_known_holds_nothing() -> None:
    deal = Deal.at(State.CREATED)
    answer = deal.respond(order(Fund, deal.escrow), Funds())
    assert isinstance(answer, Refusal)
    assert answer.details["available"] == 0


def test_edge_4_two_fundings_that_together_exceed_the_wallet_get_one_success_and_one_402() -> None:
    first, second = Deal.at(State.CREATED), Deal.at(State.CREATED)
    first.wallet = 900000
    first.do(Fund)
    second.wallet = first.wallet + first.balance(AccountKind.WALLET, "alice")
    refusal = second.refused(Fund)
    assert (refusal.code, refusal.details["available"]) == ("payment_required", 400000)
    assert second.escrow.state == State.CREATED


@pytest.mark.parametrize(("wallet", "enough"), [(499999, False), (500000, True)])
def test_with_the_wallet_gate_an_escrow_above_the_available_money_is_not_created(wallet: int, enough: bool) -> None:
    create = a_create()
    deal = Deal(blank(create, NOW, GATE.release, 0), GATE, wallet=wallet)
    answer = deal.respond(create)
    if enough:
        assert isinstance(answer, Decision)
        return
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.details["required"], answer.details["available"]) == (
        "payment_required",
        500000,
        wallet,
    )


def test_without_the_wallet_gate_an_empty_wallet_is_no_obstacle_to_an_agreement() -> None:
    create = a_create()
    assert isinstance(Deal(blank(create, NOW, RESERVE.release, 0), RESERVE, wallet=0).respond(create), Decision)


def test_a_charge_that_succeeded_funds_the_escrow_and_no_reserve_binds_it() -> None:
    deal = Deal.at(State.CREATED, RESERVE)
    fund = order(Fund, deal.escrow, source="gateway", payment_method="pm_card")
    deal.play(fund, Funds(buyer=Party(wallet=500000), charge="succeeded", charged=500000))
    assert deal.escrow.held == 500000


@pytest.mark.parametrize("funds", [Funds(charge="declined", charge_reason="insufficient funds"), Funds()])
def test_a_charge_that_did_not_succeed_funds_nothing(funds: Funds) -> None:
    deal = Deal.at(State.CREATED)
    answer = deal.respond(order(Fund, deal.escrow, source="gateway", payment_method="pm_card"), funds)
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.kind.status) == ("payment_declined", 402)
    assert answer.details["reason"] in {"insufficient funds", "the gateway has not confirmed the charge"}
    assert deal.escrow.state == State.CREATED


def test_the_wallet_gate_cannot_be_passed_by_amending_the_amount_afterwards() -> None:
    create = a_create()
    deal = Deal(blank(create, NOW, GATE.release, 0), GATE, wallet=500000)
    deal.play(create)
    assert deal.refused(Amend, amount=500001).code == "payment_required"
    deal.do(Amend, amount=500000)
