"""Agreeing on an escrow: milestones or a template, and changes before funding. Source: domain.md, sections 3 and 9."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from models.commands import AddMilestone, Amend, ChangeMilestone, Create, MilestoneDraft
from models.decision import Decision
from models.errors import Refusal
from models.fields import Evidence
from models.money import Money
from models.rules.creation import blank
from models.states import MilestoneStatus, State
from models.templates import TEMPLATES, from_template
from tests.builders import NOW, PLATFORM, SELLER, Deal, a_create, new_id, policies


def answer_to(create: Create) -> Decision | Refusal:
    """What becomes of a command to create."""
    return Deal(blank(create, NOW, policies().release, 0), policies()).respond(create)


def refusal_of(create: Create) -> Refusal:
    """The refusal of a command to create, which has to be refused."""
    answer = answer_to(create)
    assert isinstance(answer, Refusal)
    return answer


def from_a_template(**fields: Any) -> Create:
    """A command to create an escrow by template."""
    usual: dict[str, Any] = {"template": "wedding", "event_date": date(2026, 6, 15)}
    return a_create(milestones=(), **(usual | fields))


def test_creating_moves_no_money_and_makes_version_1() -> None:
    answer = answer_to(a_create())
    assert isinstance(answer, Decision)
    assert (answer.escrow.version, answer.escrow.state, answer.escrow.funded) == (1, State.CREATED, 0)
    assert (answer.transactions, answer.settlement) == ((), None)
    assert [milestone.position for milestone in answer.escrow.milestones] == [1, 2, 3]


def test_a_wedding_of_100000_baht_on_2026_06_15_is_divided_and_dated_as_specified() -> None:
    deal = Deal.agreed(from_a_template(amount=10000000, currency="THB"))
    assert [(milestone.amount, milestone.due) for milestone in deal.escrow.milestones] == [
        (3000000, date(2026, 6, 15)),
        (4000000, date(2026, 5, 16)),
        (3000000, date(2026, 6, 16)),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wedding", [(30, 0), (40, -30), (30, 1)]),
        ("party", [(50, 0), (50, 1)]),
        ("merit", [(40, 0), (60, 1)]),
    ],
)
def test_the_built_in_templates_have_the_specified_percentages_and_days(
    name: str, expected: list[tuple[int, int]]
) -> None:
    assert [(int(row.percent), row.days) for row in TEMPLATES[name].milestones] == expected
    for row in TEMPLATES[name].milestones:
        assert row.title.isascii()
        assert row.title_th
        assert not row.title_th.isascii()


def test_a_template_loses_no_unit() -> None:
    assert [draft.amount for draft in from_template(TEMPLATES["wedding"], Money(10001, "EUR"), date(2026, 6, 15))] == [
        3000,
        4001,
        3000,
    ]
    assert [draft.amount for draft in from_template(TEMPLATES["party"], Money(101, "JPY"), date(2026, 6, 15))] == [
        51,
        50,
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"template": "picnic"},
        {"event_date": None},
        {"amount": 1},  # a third of one unit is nothing, and a milestone of nothing is none
        {"event_date": date.max},
        {"event_date": date.min},
        {"milestones": (MilestoneDraft(title="One", amount=1),)},
    ],
)
def test_a_template_that_does_not_fit_is_refused_and_never_an_exception(wrong: dict[str, Any]) -> None:
    create = from_a_template()
    assert refusal_of(create.model_copy(update=wrong)).code == "invalid_command"


def test_a_date_of_the_event_without_a_template_is_refused_since_nothing_would_come_of_it() -> None:
    refusal = refusal_of(a_create(event_date=date(2026, 6, 15)))
    assert (refusal.code, refusal.message[:32]) == ("invalid_command", "event_date goes with a template:")


def test_buyer_and_seller_must_be_two_parties() -> None:
    assert refusal_of(a_create(seller="alice")).code == "invalid_command"


def test_an_escrow_cannot_be_created_again_over_one_that_holds_money() -> None:
    for state in State:
        deal = Deal.at(state)
        before = deal.escrow
        answer = deal.respond(a_create(escrow=deal.escrow.id))
        assert isinstance(answer, Refusal)
        assert answer.code == "already_exists"
        assert deal.escrow == before


def test_amending_before_funding_replaces_amount_and_milestones() -> None:
    deal = Deal.agreed()
    drafts = (MilestoneDraft(title="All of it", amount=600000),)
    escrow = deal.do(Amend, amount=600000, milestones=drafts, title="Bigger website", by=SELLER).escrow
    assert (escrow.amount, escrow.title, escrow.version) == (600000, "Bigger website", 2)
    assert [(milestone.title, milestone.amount) for milestone in escrow.milestones] == [("All of it", 600000)]


def test_an_amendment_cannot_leave_milestones_above_the_amount() -> None:
    deal = Deal.agreed()
    assert deal.refused(Amend, amount=499999).details == {"milestones": 500000, "amount": 499999}
    assert deal.refused(Amend, milestones=(MilestoneDraft(title="More", amount=500001),)).code == "invalid_command"


def test_an_amendment_of_nothing_is_refused() -> None:
    assert Deal.agreed().refused(Amend).code == "invalid_command"


def test_a_milestone_that_is_added_comes_last_and_the_others_keep_their_ids() -> None:
    deal = Deal.agreed(milestones=(150000, 200000))
    before = deal.escrow
    decision = deal.do(
        AddMilestone, title="Launch", description="Goes live.", amount=150000, due=date(2026, 12, 1), by=PLATFORM
    )
    escrow = decision.escrow
    assert escrow.milestones[:2] == before.milestones
    added = escrow.milestones[2]
    assert (added.position, added.title, added.description) == (3, "Launch", "Goes live.")
    assert (added.amount, added.due, added.status) == (150000, date(2026, 12, 1), MilestoneStatus.PENDING)
    assert len({one.id for one in escrow.milestones}) == 3
    assert (escrow.amount, escrow.state, escrow.version) == (500000, State.CREATED, before.version + 1)
    assert [(one.type, one.data) for one in decision.events] == [
        ("milestone.added", {"milestone": added.id, "amount": 150000})
    ]


def test_a_first_milestone_can_be_added_to_an_escrow_without_any() -> None:
    assert [one.position for one in Deal.agreed(milestones=()).do(AddMilestone, amount=1).escrow.milestones] == [1]


def test_no_milestone_is_added_beyond_the_limit_or_above_the_amount() -> None:
    full = Deal.agreed(milestones=(1, 1, 1)).refused(AddMilestone, amount=1)
    assert (full.code, full.message) == ("milestone_limit", "Maximum 3 milestones allowed per project")
    assert full.details == {"limit": 3, "given": 4}
    above = Deal.agreed(milestones=(150000, 200000)).refused(AddMilestone, amount=150001)
    assert (above.code, above.details) == ("invalid_command", {"milestones": 500001, "amount": 500000})


def test_a_changed_milestone_keeps_its_id_its_place_and_what_was_not_said() -> None:
    deal = Deal.agreed()
    first, second, third = deal.escrow.milestones
    decision = deal.do(ChangeMilestone, milestone=2, amount=100000, by=SELLER)
    assert deal.escrow.milestones == (first, second.model_copy(update={"amount": 100000}), third)
    assert [(one.type, one.data) for one in decision.events] == [
        ("milestone.changed", {"milestone": second.id, "amount": 100000})
    ]
    words: dict[str, Any] = {"title": "Build", "description": "In two parts.", "due": date(2026, 12, 1)}
    deal.do(ChangeMilestone, milestone=2, **words)
    assert deal.escrow.milestones[1] == second.model_copy(update={"amount": 100000, **words})


def test_a_milestone_cannot_grow_until_they_are_above_the_amount() -> None:
    refusal = Deal.agreed().refused(ChangeMilestone, milestone=1, amount=150001)
    assert (refusal.code, refusal.details) == ("invalid_command", {"milestones": 500001, "amount": 500000})


def test_a_change_of_nothing_or_of_a_milestone_of_another_escrow_is_refused() -> None:
    deal = Deal.agreed()
    nothing = deal.refused(ChangeMilestone)
    assert (nothing.code, "a due date" in nothing.message) == ("invalid_command", True)
    unknown = deal.refused(ChangeMilestone, milestone=new_id("mil"))
    assert unknown.code == "not_found"
    assert unknown.details == {"milestones": [one.id for one in deal.escrow.milestones]}


@pytest.mark.parametrize("state", [state for state in State if state != State.CREATED])
def test_milestones_are_neither_added_nor_changed_once_funded(state: State) -> None:
    added = Deal.at(state, milestones=(1,)).refused(AddMilestone, amount=1)
    assert (added.code, added.details["event"]) == ("invalid_transition", "add_milestone")
    assert "allowed" in added.details
    for milestone in (1, new_id("mil")):  # before anything else that may be wrong with it
        changed = Deal.at(state).refused(ChangeMilestone, milestone=milestone, amount=1)
        assert (changed.code, changed.details["event"]) == ("invalid_transition", "change_milestone")


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": ""},
        {"title": "x" * 201},
        {"title": "bell\x07"},
        {"buyer": "alice@example.com"},
        {"buyer": "a" * 65},
        {"currency": "XXX"},
        {"amount": 0},
        {"amount": 10**15 + 1},
        {"amount": 1.0},
        {"amount": True},
        {"amount": "1"},
        {"escrow": new_id("mil")},
        {"escrow": "esc_1"},
        {"id": "with space"},
        {"category": "Web Design"},
        {"metadata": {"k": "v" * 501}},
        {"metadata": {str(n): "v" for n in range(21)}},
        {"surprise": 1},
    ],
)
def test_edge_44_a_document_is_bounded_and_strict_and_takes_no_unknown_field(wrong: dict[str, Any]) -> None:
    create = a_create()
    with pytest.raises(ValidationError):
        Create.model_validate(dict(create) | wrong)


def test_edge_44_evidence_names_a_web_address_or_a_hash_and_nothing_that_runs() -> None:
    Evidence(name="photo", url="https://example.com/p.jpg", sha256="0" * 64)
    for wrong in ({"url": "javascript:alert(1)"}, {"url": "http://a b"}, {"sha256": "0" * 63}, {"note": "x" * 2001}):
        with pytest.raises(ValidationError):
            Evidence.model_validate({"name": "photo"} | wrong)
