"""A tenant's own milestone templates in the books. Source: domain.md, section 9."""

from datetime import date
from decimal import Decimal

import pytest

from ledger import tenants
from models.commands import Create
from models.errors import RefusedError
from models.templates import Template
from tests.builders import a_create
from tests.market import Market


def a_template(*percents: str, name: str = "retreat") -> Template:
    """A template in both languages."""
    rows = [
        {"title": f"Part {number}", "title_th": f"งวดที่ {number}", "percent": Decimal(percent), "days": number}
        for number, percent in enumerate(percents)
    ]
    return Template.model_validate({"name": name, "milestones": tuple(rows)})


def by_template(market: Market, name: str = "retreat") -> Create:
    """A command to create an escrow of 1,000.00 by a template."""
    return a_create(tenant=market.tenant, amount=100000, milestones=(), template=name, event_date=date(2026, 12, 31))


def test_what_a_tenant_wrote_in_english_and_thai_is_what_its_escrows_agree_on(market: Market) -> None:
    """Through the database and back, to the letter; the year's end included."""
    tenants.put_template(market.engine, market.tenant, a_template("33.3", "66.7"))
    escrow = market.escrow(market.accept(by_template(market)))
    assert [(one.title, one.description, one.amount, one.due) for one in escrow.milestones] == [
        ("Part 0", "งวดที่ 0", 33300, date(2026, 12, 31)),
        ("Part 1", "งวดที่ 1", 66700, date(2027, 1, 1)),
    ]


def test_a_template_that_is_replaced_changes_no_escrow_that_agreed_on_it(market: Market) -> None:
    """Escrows copy what they need."""
    tenants.put_template(market.engine, market.tenant, a_template("50", "50"))
    before = market.accept(by_template(market))
    tenants.put_template(market.engine, market.tenant, a_template("10", "90"))
    assert market.escrow(before) == before
    assert [one.amount for one in market.accept(by_template(market)).milestones] == [10000, 90000]


def test_a_template_is_one_tenants_own(market: Market) -> None:
    """Another marketplace does not know it, and its refusal names what there is."""
    other = Market(market.engine)
    tenants.put_template(market.engine, market.tenant, a_template("100"))
    refusal = other.apply(by_template(other)).refusal
    assert refusal is not None
    assert refusal.code == "invalid_command"
    assert "unknown template 'retreat'" in refusal.message


@pytest.mark.parametrize("name", ["wedding", "party", "merit"])
def test_nobody_writes_a_template_by_the_name_of_a_built_in_one(market: Market, name: str) -> None:
    """A wedding is 30/40/30 for everybody."""
    with pytest.raises(RefusedError, match="built in") as refused:
        tenants.put_template(market.engine, market.tenant, a_template("100", name=name))
    assert refused.value.refusal.code == "already_exists"
    assert [one.amount for one in market.accept(by_template(market, "wedding")).milestones] == [30000, 40000, 30000]
