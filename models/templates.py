"""Milestone templates: percentages of the amount and days from the event. Source: domain.md, section 9."""

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from models.commands import MilestoneDraft
from models.money import Money


@dataclass(frozen=True)
class TemplateMilestone:
    """One milestone of a template; ``days`` counts from the event, negative before it."""

    title: str
    title_th: str
    percent: Decimal
    days: int


def _row(title: str, title_th: str, percent: int, days: int) -> TemplateMilestone:
    return TemplateMilestone(title, title_th, Decimal(percent), days)


TEMPLATES: Final = MappingProxyType(
    {
        "wedding": (
            _row("Initial deposit", "มัดจำเริ่มต้น", 30, 0),
            _row("Second instalment", "งวดที่ 2", 40, -30),
            _row("Final instalment", "งวดสุดท้าย", 30, 1),
        ),
        "party": (_row("Deposit", "มัดจำ", 50, 0), _row("Full payment", "ชำระเต็มจำนวน", 50, 1)),
        "merit": (_row("Deposit", "มัดจำ", 40, 0), _row("Final instalment", "งวดสุดท้าย", 60, 1)),
    }
)


def from_template(name: str, total: Money, event: date) -> tuple[MilestoneDraft, ...]:
    """Divide an amount by a template.

    A wedding of 100,000 THB on 2026-06-15 is 30,000 due 2026-06-15, 40,000 due 2026-05-16, 30,000 due 2026-06-16.
    Raises ``KeyError`` for an unknown template.
    """
    rows = TEMPLATES[name]
    amounts = total.divide([row.percent for row in rows])
    return tuple(
        MilestoneDraft(
            title=row.title, description=row.title_th, amount=part.amount, due=event + timedelta(days=row.days)
        )
        for row, part in zip(rows, amounts, strict=True)
    )
