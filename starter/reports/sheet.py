"""A report as rows and columns, before it is known whether it becomes a table, JSON or CSV."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Row = dict[str, Any]


_SHORTER: Final = {
    "platform_fee": "fee",
    "seller_payout": "seller",
    "buyer_refund": "buyer",
    "reporting_currency": "reported in",
}


@dataclass(frozen=True)
class Column:
    """A column of text, of codes (text that stays in one line), of counts, or of money.

    Money is minor units of the currency that the column named in ``currency`` has. ``part`` is the table it stands in
    where people get several beside each other; "" stands in each. ``called`` is the heading for people, where the name
    would not do.
    """

    name: str
    kind: Literal["text", "code", "count", "money"] = "text"
    currency: str = "currency"
    part: str = ""
    called: str = ""

    @property
    def label(self) -> str:
        """For people."""
        name = self.name.removeprefix("reporting_")
        return self.called or _SHORTER.get(self.name) or _SHORTER.get(name) or name.replace("_", " ")


@dataclass(frozen=True)
class Check:
    """A sum that has to agree with another one: ``difference`` in minor units of ``currency`` is zero."""

    says: str
    currency: str
    difference: int


@dataclass(frozen=True)
class Sheet:
    """One report. ``totals`` are rows of the same columns for people; whoever reads CSV adds up for himself."""

    title: str
    columns: tuple[Column, ...]
    rows: list[Row]
    empty: str
    totals: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    remarks: tuple[str, ...] = ()

    @property
    def ties(self) -> bool:
        """Whether every sum agrees."""
        return not any(check.difference for check in self.checks)


def totals(rows: Iterable[Row], by: Sequence[str], summed: Sequence[str], label: str) -> list[Row]:
    """Sum columns over the rows that agree in ``by``; ``label`` is the column that says "total"."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in by)
        total = found.setdefault(key, {label: "total", **dict(zip(by, key, strict=True)), **dict.fromkeys(summed, 0)})
        for name in summed:
            total[name] += row[name]
    return list(found.values())
