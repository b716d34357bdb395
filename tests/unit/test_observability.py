"""The page about metrics lists what there is, as it is; what the page has alerts for is measured."""

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from ruamel.yaml import YAML
from sqlalchemy import create_engine

from activities.metrics import BooksMetrics
from starter.api.figures import Figures
from starter.api.metrics import Metrics
from starter.logs import FIELDS
from tests.unit.source import ROOT

PAGE = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| `(holdfast_\w+)` \| (\w+) \| (.*?) ?\| .+ \|$", re.MULTILINE)
_SUFFIX = re.compile(r"_(total|bucket|count|sum)$")
_WORDS = re.compile(r"`([^`]+)`")


def registered() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every metric of ours with its type and labels, as the API's and the worker's registries have them."""
    api, worker = Metrics(), CollectorRegistry()
    BooksMetrics(worker)
    api.registry.register(Figures(create_engine("postgresql+psycopg://nobody@127.0.0.1/nothing")))
    collectors: list[Any] = [*api.registry._collector_to_names, *worker._collector_to_names]
    families = [family for one in collectors if isinstance(one, Figures) for family in one.describe()]
    known = {one._name: (one._type, one._labelnames) for one in collectors if hasattr(one, "_labelnames")}
    return known | {one.name: (one.type, tuple(one._labelnames)) for one in families}  # type: ignore[attr-defined]


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The rows of the page's tables."""
    return {name: (kind, tuple(_WORDS.findall(labels))) for name, kind, labels in _ROW.findall(PAGE)}


def alerts() -> list[Any]:
    """The rules of the page, parsed."""
    found = re.search(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    groups: list[Any] = YAML(typ="safe").load(found[1])["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_metric_is_documented_with_its_type_and_labels_and_no_other_is() -> None:
    assert documented() == registered()


def test_metrics_are_named_for_what_they_count() -> None:
    """Prometheus adds the ending of a counter; units are written out; no label could hold an id."""
    for name, (kind, labels) in registered().items():
        assert not _SUFFIX.search(name), name
        assert kind != "histogram" or name.endswith("_seconds"), name
        assert not {"id", "tenant", "party", "escrow", "path", "key"} & set(labels), name


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_looks_at_metrics_and_labels_that_there_are(rule: Any) -> None:
    """An alert on a name that was misspelt never fires."""
    used = re.findall(r"(holdfast_\w+)(?:\{([^}]*)\})?", rule["expr"])
    for series, selected in used:
        kind, labels = registered()[_SUFFIX.sub("", series)]
        assert series.endswith("_total") == (kind == "counter")
        assert series.endswith("_bucket") == (kind == "histogram")
        assert set(re.findall(r"(\w+)=", selected)) <= set(labels)
    assert used or "temporal_workflow_task_execution_failed_total" in rule["expr"]


def test_the_fields_that_every_line_may_have_are_documented() -> None:
    """What the configuration of logs adds by itself, or lets libraries add."""
    assert set(_WORDS.findall(PAGE.partition("## Logs")[2])) >= FIELDS
