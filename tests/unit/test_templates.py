"""Milestone templates: the built-in ones and a tenant's own, in English and Thai. Source: domain.md, section 9."""

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.commands import MilestoneDraft
from models.decision import Decision
from models.errors import Refusal
from models.escrow import Escrow
from models.money import Money
from models.policies import Policies, ReleasePolicy
from models.rules.creation import blank
from models.templates import TEMPLATES, Template, from_template
from tests.builders import NOW, Deal, a_create, policies

EVENT = date(2026, 6, 15)
RETREAT = {
    "name": "yoga-retreat",
    "milestones": [
        {"title": "Booking", "title_th": "จองสถานที่", "percent": "12.5", "days": -60},
        {"title": "Arrival", "title_th": "เดินทางถึง", "percent": "50", "days": 0},
        {"title": "Farewell", "percent": "37.5", "days": 2},
    ],
}


def written(**changes: Any) -> Template:
    """The retreat's template as a tenant writes it, in JSON."""
    return Template.model_validate_json(json.dumps(RETREAT | changes))


def rows(*percents: str) -> list[dict[str, Any]]:
    """Milestones with these percentages."""
    return [{"title": f"Part {number}", "percent": percent} for number, percent in enumerate(percents, start=1)]


def agreed(own: Template | None = None, **fields: Any) -> Escrow | Refusal:
    """Create an escrow by a template, in a tenant that has written this one."""
    in_force: Policies = replace(policies(), template=own)
    usual: dict[str, Any] = {"amount": 100000, "milestones": (), "event_date": EVENT, "template": "yoga-retreat"}
    create = a_create(**(usual | fields))
    answer = Deal(blank(create, NOW, in_force.release, 0), in_force).respond(create)
    return answer.escrow if isinstance(answer, Decision) else answer


def test_a_tenants_own_template_divides_amount_and_dates_with_titles_in_both_languages() -> None:
    escrow = agreed(written())
    assert isinstance(escrow, Escrow)
    assert [(one.title, one.description, one.amount, one.due) for one in escrow.milestones] == [
        ("Booking", "จองสถานที่", 12500, date(2026, 4, 16)),
        ("Arrival", "เดินทางถึง", 50000, EVENT),
        ("Farewell", None, 37500, date(2026, 6, 17)),
    ]


def test_the_specifications_wedding_of_100000_thb() -> None:
    escrow = agreed(template="wedding", currency="THB", amount=10000000)
    assert isinstance(escrow, Escrow)
    assert [(one.amount, one.due) for one in escrow.milestones] == [
        (3000000, date(2026, 6, 15)),
        (4000000, date(2026, 5, 16)),
        (3000000, date(2026, 6, 16)),
    ]


@pytest.mark.parametrize("own", [None, written(name="another-one")])
def test_an_unknown_template_is_refused_and_the_refusal_names_those_built_in(own: Template | None) -> None:
    refusal = agreed(own)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "invalid_command"
    assert "merit, party, wedding" in refusal.message


def test_a_built_in_template_is_there_for_a_tenant_with_templates_of_its_own() -> None:
    assert isinstance(agreed(written(), template="merit"), Escrow)


def test_edge_32_a_template_of_four_milestones_meets_the_limit_of_three() -> None:
    four = written(milestones=rows("25", "25", "25", "25"))
    refusal = agreed(four)
    assert isinstance(refusal, Refusal)
    assert refusal.message == "Maximum 3 milestones allowed per project"
    in_force = replace(policies(release=ReleasePolicy(max_milestones=4)), template=four)
    create = a_create(amount=100000, milestones=(), event_date=EVENT, template="yoga-retreat")
    assert isinstance(Deal(blank(create, NOW, in_force.release, 0), in_force).respond(create), Decision)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"event_date": None}, "event_date"),
        ({"milestones": (1,)}, "not both"),
        ({"amount": 2}, "does not fit"),
        ({"event_date": date.max}, "does not fit"),
        ({"event_date": date.min}, "does not fit"),
    ],
)
def test_what_does_not_fit_a_template_is_refused_with_what_to_change(wrong: dict[str, Any], said: str) -> None:
    refusal = agreed(written(), **wrong)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "invalid_command"
    assert said in refusal.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"milestones": rows("50", "49.999999999")}, "sum to 99.999999999, not to 100"),
        ({"milestones": rows("60", "60")}, "sum to 120, not to 100"),
        ({"milestones": rows("100", "0")}, "greater than 0"),
        ({"milestones": rows("150", "-50")}, "less than or equal to 100"),
        ({"milestones": []}, "at least 1 item"),
        ({"milestones": rows(*["5"] * 21)}, "at most 20 items"),
        ({"name": "Yoga Retreat"}, "match pattern"),
        ({"milestones": [{"title": "All", "percent": 100}]}, "decimal string"),
        ({"milestones": [{"title": "All", "percent": "NaN"}]}, "expected a decimal string"),
        ({"milestones": [{"title": "", "percent": "100"}]}, "at least 1 character"),
        ({"milestones": [{"title": "x\x07", "percent": "100"}]}, "control characters"),
        ({"milestones": [{"title": "All", "percent": "100", "days": 3661}]}, "less than or equal to 3660"),
        ({"milestones": [{"title": "All", "percent": "100", "title_de": "Alles"}]}, "Extra inputs"),
    ],
)
def test_a_template_that_could_not_be_followed_is_refused_when_it_is_written(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        written(**changes)


def test_a_template_reads_back_as_it_was_written() -> None:
    assert Template.model_validate_json(written().model_dump_json()) == written()


def test_a_tenant_may_write_without_thai_and_every_built_in_has_it() -> None:
    assert written().milestones[2].title_th is None
    assert all(row.title_th for template in TEMPLATES.values() for row in template.milestones)


@settings(deadline=None)
@given(st.integers(100, 10**15), st.lists(st.integers(1, 100), min_size=1, max_size=20), st.dates(date(1950, 1, 1), date(2100, 1, 1)))  # fmt: skip  # noqa: E501
def test_whatever_the_percentages_no_unit_is_lost_and_every_date_is_its_offset(
    amount: int, weights: list[int], event: date
) -> None:
    percents = [Decimal(weight * 10**6 * 100 // sum(weights)) / 10**6 for weight in weights]
    percents[-1] += 100 - sum(percents)
    template = Template.model_validate(
        {
            "name": "any",
            "milestones": tuple(
                {"title": "One", "percent": percent, "days": 10 * number - 100}
                for number, percent in enumerate(percents)
            ),
        }
    )
    total = Money(amount * 100, "EUR") if amount < 10**13 else Money(amount, "EUR")
    drafts: tuple[MilestoneDraft, ...] = from_template(template, total, event)
    assert sum(draft.amount for draft in drafts) == total.amount
    assert [draft.due for draft in drafts] == [event + timedelta(days=row.days) for row in template.milestones]
