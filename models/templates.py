"""Milestone templates: percentages of the amount and days from the event. Source: domain.md, section 9."""

from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from models.commands import MilestoneDraft
from models.fields import DECIMAL_STRING, Category, Document, Line, decimal_string
from models.money import Money

Percent = Annotated[
    Decimal, BeforeValidator(decimal_string), Field(gt=0, le=100, max_digits=12, decimal_places=9), DECIMAL_STRING
]


class TemplateMilestone(Document):
    """One milestone of a template; ``days`` counts from the event, negative before it."""

    title: Line
    title_th: Line | None = None
    percent: Percent
    days: Annotated[int, Field(ge=-3660, le=3660)] = 0


class Template(Document):
    """How a kind of deal is usually divided. The percentages of its milestones sum to 100."""

    name: Category
    milestones: Annotated[tuple[TemplateMilestone, ...], Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _all_of_it(self) -> Self:
        whole = sum((row.percent for row in self.milestones), Decimal(0))
        if whole != 100:
            raise ValueError(f"the percentages of template {self.name!r} sum to {whole}, not to 100")
        return self


def _built_in(name: str, *rows: tuple[str, str, int, int]) -> Template:
    return Template(
        name=name,
        milestones=tuple(
            TemplateMilestone(title=title, title_th=title_th, percent=Decimal(percent), days=days)
            for title, title_th, percent, days in rows
        ),
    )


TEMPLATES: Final = MappingProxyType(
    {
        template.name: template
        for template in (
            _built_in(
                "wedding",
                ("Initial deposit", "มัดจำเริ่มต้น", 30, 0),
                ("Second instalment", "งวดที่ 2", 40, -30),
                ("Final instalment", "งวดสุดท้าย", 30, 1),
            ),
            _built_in("party", ("Deposit", "มัดจำ", 50, 0), ("Full payment", "ชำระเต็มจำนวน", 50, 1)),
            _built_in("merit", ("Deposit", "มัดจำ", 40, 0), ("Final instalment", "งวดสุดท้าย", 60, 1)),
        )
    }
)


def from_template(template: Template, total: Money, event: date) -> tuple[MilestoneDraft, ...]:
    """Divide an amount by a template.

    A wedding of 100,000 THB on 2026-06-15 is 30,000 due 2026-06-15, 40,000 due 2026-05-16, 30,000 due 2026-06-16.
    Raises ``ValueError`` where a part would be nothing, ``OverflowError`` for a date beyond the calendar.
    """
    amounts = total.divide([row.percent for row in template.milestones])
    return tuple(
        MilestoneDraft(
            title=row.title, description=row.title_th, amount=part.amount, due=event + timedelta(days=row.days)
        )
        for row, part in zip(template.milestones, amounts, strict=True)
    )
