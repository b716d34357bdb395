"""Who may act, on which version. Source: domain.md, section 3, "Who may act"; edge case 41."""

from typing import Any

import pytest

from models import commands
from models.commands import Actor, Command
from models.decide import PLATFORM_COMMANDS, ROWS, TABLE, decide, refuse_early
from models.errors import ErrorCode, Refusal
from models.rules.creation import blank
from models.states import State
from tests.builders import BUYER, NOW, OPERATOR, PLATFORM, SELLER, SYSTEM, Deal, a_create, new_id, order, policies

EVERYONE = {"buyer": BUYER, "seller": SELLER, "operator": OPERATOR, "platform": PLATFORM, "system": SYSTEM}

# Copied by hand from domain.md: the operator may do everything but be a deadline or a gateway's answer.
WHO: dict[str, str] = {
    "create": "buyer seller operator platform",
    "amend": "buyer seller operator platform",
    "add_milestone": "buyer seller operator platform",
    "change_milestone": "buyer seller operator platform",
    "fund": "buyer operator",
    "start_work": "seller operator",
    "submit_milestone": "seller operator",
    "withdraw_submission": "seller operator",
    "approve_milestone": "buyer operator",
    "reject_milestone": "buyer operator",
    "reverse_milestone": "seller operator",
    "complete": "buyer operator",
    "cancel": "buyer seller operator",
    "refund": "seller operator",
    "dispute": "buyer seller operator",
    "add_evidence": "buyer seller operator",
    "review_dispute": "operator",
    "resolve_dispute": "operator",
    "close_dispute": "operator",
    "request_payout": "seller operator platform system",
    "retry_payout": "seller operator",
    "open_chargeback": "operator system",
    "close_chargeback": "operator system",
    "reach_deadline": "system",
    "send_payout": "system",
    "record_payout": "system",
}


def a_command(name: str, deal: Deal, by: Actor) -> Command:
    """A well-formed command of that name; whether the escrow is ready for it does not matter here."""
    if name == "create":
        return a_create(by=by)
    extra: dict[str, dict[str, Any]] = {
        "add_milestone": {"amount": 1},
        "reverse_milestone": {"amount": 1},
        "add_evidence": {"dispute": new_id("dsp")},
        "review_dispute": {"dispute": new_id("dsp")},
        "close_dispute": {"dispute": new_id("dsp")},
        "request_payout": {"payout": new_id("pay")},
        "open_chargeback": {"amount": 1},
        "close_chargeback": {"outcome": "won"},
        "resolve_dispute": {"dispute": new_id("dsp"), "resolution": "mediation"},
        "retry_payout": {"payout": new_id("pay")},
        "reach_deadline": {"deadline": new_id("dln"), "generation": 1},
        "send_payout": {"payout": new_id("pay"), "generation": 1},
        "record_payout": {"payout": new_id("pay"), "generation": 1, "outcome": "paid"},
    }
    return order(ROWS[name].command, deal.escrow, by=by, **extra.get(name, {}))


def test_every_command_has_one_row_and_says_who_may_send_it() -> None:
    assert {row.name: row.roles for row in TABLE} == {name: frozenset(roles.split()) for name, roles in WHO.items()}
    assert {row.name for row in PLATFORM_COMMANDS} == set(WHO) - {"reach_deadline", "send_payout", "record_payout"}


@pytest.mark.parametrize("name", WHO)
def test_everyone_without_the_role_is_forbidden_whatever_the_state(name: str) -> None:
    for state in State:
        deal = Deal.at(state)
        for role in EVERYONE.keys() - set(WHO[name].split()):
            command = a_command(name, deal, EVERYONE[role])
            escrow = deal.escrow if name != "create" else blank(a_create(), NOW, deal.escrow.release, 0)
            answer = decide(escrow, command, deal.policies, deal.now)
            assert isinstance(answer, Refusal)
            assert answer.code == "forbidden", f"{role} {name} in {state}"
            assert refuse_early(escrow, command, deal.now) == answer


@pytest.mark.parametrize("role", ["buyer", "seller"])
def test_a_stranger_in_a_partys_role_is_forbidden(role: str) -> None:
    for party in ("mallory", None):
        stranger = Actor.model_validate({"role": role, "party": party})
        kind = commands.Fund if role == "buyer" else commands.Cancel
        assert Deal.at(State.CREATED).refused(kind, by=stranger).code == "forbidden"


def test_an_escrow_is_agreed_by_its_own_parties_only() -> None:
    create = a_create(by=Actor(role="buyer", party="mallory"))
    answer = decide(blank(create, NOW, policies().release, 0), create, policies(), NOW)
    assert isinstance(answer, Refusal)
    assert answer.code == "forbidden"


def test_edge_41_the_seller_cannot_approve_own_work() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    assert deal.refused(commands.ApproveMilestone, by=SELLER).code == "forbidden"
    assert deal.refused(commands.Complete, by=SELLER).code == "forbidden"


def test_edge_41_the_buyer_cannot_resolve_own_dispute() -> None:
    deal = Deal.at(State.DISPUTED)
    assert deal.refused(commands.ReviewDispute, by=BUYER).code == "forbidden"
    deal.do(commands.ReviewDispute)
    assert deal.refused(commands.ResolveDispute, by=BUYER, resolution="buyer_favor").code == "forbidden"


@pytest.mark.parametrize("party", ["alice", "bob"])
def test_edge_41_a_party_who_is_an_operator_as_well_still_cannot_judge_the_own_dispute(party: str) -> None:
    both = Actor(role="operator", party=party)
    deal = Deal.at(State.DISPUTED)
    assert deal.refused(commands.ReviewDispute, by=both).code == "forbidden"
    deal.do(commands.ReviewDispute)
    refusal = deal.refused(commands.ResolveDispute, by=both, resolution="mediation")
    assert (refusal.code, refusal.message) == ("forbidden", "a dispute's resolver may not be one of its parties")


@pytest.mark.parametrize("state", [State.CREATED, State.FUNDED])
def test_the_buyer_may_cancel_before_work_starts(state: State) -> None:
    assert Deal.at(state).do(commands.Cancel, by=BUYER).escrow.state == State.CANCELLED


@pytest.mark.parametrize("state", [State.IN_PROGRESS, State.MILESTONE_PENDING, State.MILESTONE_APPROVED])
def test_the_buyer_may_not_cancel_once_work_has_started(state: State) -> None:
    assert Deal.at(state).refused(commands.Cancel, by=BUYER).code == "forbidden"


@pytest.mark.parametrize("state", [State.FUNDED, State.IN_PROGRESS, State.MILESTONE_APPROVED])
def test_the_seller_may_give_the_money_back_at_any_time_it_is_held(state: State) -> None:
    assert Deal.at(state).do(commands.Cancel, by=SELLER).escrow.state == State.CANCELLED
    assert Deal.at(state).do(commands.ReverseMilestone, by=SELLER, milestone=2, amount=200000).escrow.refunded == 200000


def test_a_command_based_on_another_version_is_a_conflict_that_names_the_current_one() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    for other in (deal.escrow.version - 1, deal.escrow.version + 1):
        refusal = deal.refused(commands.ApproveMilestone, expected_version=other)
        assert refusal.kind is ErrorCode.CONFLICT
        assert refusal.details == {"current_version": deal.escrow.version, "expected_version": other}
    deal.do(commands.ApproveMilestone, expected_version=deal.escrow.version)


def test_a_cached_snapshot_refuses_an_old_version_but_leaves_a_newer_one_to_the_transaction() -> None:
    escrow = Deal.at(State.MILESTONE_PENDING).escrow
    stale = refuse_early(escrow, order(commands.ApproveMilestone, escrow, expected_version=escrow.version - 1), NOW)
    assert stale is not None
    assert stale.code == "conflict"
    newer = order(commands.ApproveMilestone, escrow, expected_version=escrow.version + 1)
    assert refuse_early(escrow, newer, NOW) is None


def test_a_command_after_a_due_deadline_is_left_to_the_transaction() -> None:
    """The deadline takes effect first: what the snapshot forbids may be possible after it."""
    deal = Deal.at(State.MILESTONE_PENDING)
    complete = order(commands.Complete, deal.escrow)
    assert refuse_early(deal.escrow, complete, deal.now) is not None
    assert refuse_early(deal.escrow, complete, deal.next_deadline.due_at) is None


def test_of_two_commands_based_on_one_version_the_second_is_a_conflict() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    seen = deal.escrow.version
    deal.do(commands.ApproveMilestone, expected_version=seen)
    assert deal.refused(commands.RaiseDispute, expected_version=seen).code == "conflict"
