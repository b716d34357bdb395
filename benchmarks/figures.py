"""What a benchmark answers: figures, a table of them for a person, and a file for a program."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured value; ``against`` is the yardstick of the same run, in the same unit, and ``ratio`` the two."""

    name: str
    value: float
    unit: str
    against: float | None = None
    ratio: float | None = None


def compare(name: str, unit: str, pairs: Sequence[tuple[float, float]]) -> Figure:
    """Medians of paired rounds. The ratio is the median of the rounds' own ratios: noise hits both halves of a pair."""
    ours, theirs = zip(*pairs, strict=True)
    ratio = statistics.median(one / other for one, other in pairs)
    return Figure(name, statistics.median(ours), unit, statistics.median(theirs), ratio)


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table."""
    shown = Table("figure", "value", "unit", "against", "ratio")
    for column in (1, 3, 4):
        shown.columns[column].justify = "right"
    for one in figures:
        shown.add_row(one.name, _number(one.value), one.unit, _number(one.against), _number(one.ratio, 2))
    return shown


def write(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures as JSON: a list of objects with the fields of ``Figure``."""
    path.write_text(json.dumps([asdict(one) for one in figures], indent=2) + "\n")


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
