"""Reports over HTTP are those of the command line. Source: http-contract.md, "Routes"; docs/reports.md."""

import csv
import io
from typing import Any

import httpx
import pytest

from ledger.engine import for_tenant
from ledger.reports import Span
from starter.reports import sheets
from starter.reports.formats import as_csv, as_json
from tests.api.service import Api, Tenant
from tests.api.test_payouts import released

REPORTS = {
    "liquidity": sheets.liquidity,
    "trial-balance": sheets.trial_balance,
    "fees": sheets.fees,
    "settlements": sheets.settlements,
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_the_command_lines_own_and_ties(api: Api, tenant: Tenant, name: str) -> None:
    released(tenant.ready(), release={"payout": {"trigger": "manual"}})
    sheet = REPORTS[name](for_tenant(api.servers.engine, tenant.id), tenant.id, Span())
    answer = tenant.platform.ask("GET", f"/v1/reports/{name}")
    assert answer.text == as_json(sheet, {"tenant": tenant.id, "by": "total"})
    assert (answer.json()["ties"], bool(answer.json()["rows"])) == (True, True)
    table = tenant.platform.ask("GET", f"/v1/reports/{name}?format=csv")
    assert table.headers["Content-Type"].startswith("text/csv")
    assert table.text == as_csv(sheet)
    assert len(list(csv.reader(io.StringIO(table.text)))) == 1 + len(answer.json()["rows"])


def test_the_liquidity_after_a_release_is_what_is_held_and_owed(tenant: Tenant) -> None:
    released(tenant.ready(), release={"payout": {"trigger": "manual"}})
    rows = tenant.platform.get("/v1/reports/liquidity")["rows"]
    found = {one["item"]: one["amount_minor"] for one in rows}
    told = {name: found[name] for name in ("held", "payable", "platform fees", "cash")}
    assert told == {"held": 350000, "payable": 135000, "platform fees": 15000, "cash": 10_000_000}


def test_a_span_is_half_open_and_in_periods(tenant: Tenant) -> None:
    released(tenant.ready())

    def sums(query: str) -> list[tuple[Any, Any]]:
        rows = tenant.platform.get(f"/v1/reports/settlements?{query}")["rows"]
        return [(one["period"], one["total_minor"]) for one in rows]

    today = tenant.platform.get("/v1/test-clock")["now"][:10]
    assert sums(f"from={today}&by=day") == [(today, 150000)]
    assert sums(f"to={today}&by=day") == []
    assert sums("by=month") == [(today[:7], 150000)]


@pytest.mark.parametrize(
    "query",
    ["from=2026-02-30", "from=yesterday", "from=20", "to=1767225600", "by=week", "format=pdf", "from=%00",
     "from=2026-02-01&to=2026-02-01", "from=2026-02-02&to=2026-02-01"],
)  # fmt: skip
def test_a_span_that_cannot_be_is_refused(tenant: Tenant, query: str) -> None:
    answer = tenant.platform.ask("GET", f"/v1/reports/liquidity?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_reports_are_the_platforms_and_of_its_own_books_alone(tenant: Tenant) -> None:
    released(tenant.ready())
    other = tenant.api.tenant()
    for name in REPORTS:
        assert tenant.bob.ask("GET", f"/v1/reports/{name}").status_code == httpx.codes.FORBIDDEN
        assert not other.platform.get(f"/v1/reports/{name}")["rows"]
