"""What ``make bench`` writes can be read by a program, and its ratios come from paired rounds."""

import json
from pathlib import Path

from benchmarks.figures import Figure, compare, write


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """A round in which the machine was slow for both halves does not move the ratio."""
    figure = compare("settlements", "1/s", [(50, 100), (5, 10), (60, 100)])
    assert (figure.value, figure.against, figure.ratio) == (50, 100, 0.5)


def test_the_results_are_a_list_of_figures(tmp_path: Path) -> None:
    """Every figure has a name, a value and a unit; what it is measured against may be absent."""
    write([Figure("history events", 39, "events")], tmp_path / "results.json")
    expected = {"name": "history events", "value": 39, "unit": "events", "against": None, "ratio": None}
    assert json.loads((tmp_path / "results.json").read_text()) == [expected]
