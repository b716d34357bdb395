"""Payouts over HTTP: listed, sent again, asked for. Source: http-contract.md, "Routes"; domain.md, section 11."""

from typing import Any

import httpx
import pytest

from tests.api.service import Tenant
from tests.api.test_parties import end_user
from tests.servers import eventually


def released(tenant: Tenant, **fields: Any) -> Any:
    """An escrow whose first milestone is approved, so that its payout is on its way."""
    escrow = tenant.submitted(**fields)
    return tenant.alice.post(f"/v1/milestones/{escrow['milestones'][0]['id']}/approve")


def payout(tenant: Tenant, status: str, **fields: Any) -> Any:
    """The payout of a release, once it is that far."""
    escrow = released(tenant, **fields)

    def there() -> Any:
        found = tenant.platform.get(f"/v1/payouts/{escrow['payouts'][0]['id']}")
        return found if found["status"] == status else None

    return eventually(there)


def test_a_payout_is_listed_by_status_and_party_and_paid(tenant: Tenant) -> None:
    paid = payout(tenant.ready(), "paid")
    assert (paid["amount"], paid["currency"], paid["party"], paid["destination"]) == (135000, "EUR", "bob", "acct_bob")
    for query in ("", "?status=paid", "?party=bob", "?status=paid&party=bob"):
        assert tenant.platform.get(f"/v1/payouts{query}") == {"data": [paid], "has_more": False}
    for query in ("?status=failed", "?party=alice"):
        assert tenant.platform.get(f"/v1/payouts{query}")["data"] == []
    assert tenant.platform.ask("GET", f"/v1/payouts/{paid['id']}").headers["ETag"].strip('"').isdigit()


def test_payouts_come_newest_first_a_page_at_a_time(tenant: Tenant) -> None:
    tenant.ready()
    made = [released(tenant)["payouts"][0]["id"] for _ in range(3)]
    first = tenant.platform.get("/v1/payouts?limit=2")
    assert ([one["id"] for one in first["data"]], first["has_more"]) == ([made[2], made[1]], True)
    rest = tenant.platform.get(f"/v1/payouts?limit=2&starting_after={made[1]}")
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([made[0]], False)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "status=gone", "party=a%00", "starting_after=%00"]
)
def test_a_list_that_cannot_be_asked_for_is_refused(tenant: Tenant, query: str) -> None:
    assert tenant.platform.ask("GET", f"/v1/payouts?{query}").status_code == 422


@pytest.mark.parametrize("path", ["pay_1", "pay_01jd3v6k9q4m8n2p5r7s0t1w3x", "%00"])
def test_a_payout_that_there_is_not_is_not_found(tenant: Tenant, path: str) -> None:
    assert tenant.platform.ask("GET", f"/v1/payouts/{path}").status_code == httpx.codes.NOT_FOUND
    assert tenant.platform.ask("POST", f"/v1/payouts/{path}/retry").status_code == httpx.codes.NOT_FOUND


def test_a_payout_is_its_sellers_to_see(tenant: Tenant) -> None:
    paid = payout(tenant.ready(), "paid")
    assert tenant.bob.get("/v1/payouts")["data"] == [paid]
    assert tenant.bob.get(f"/v1/payouts/{paid['id']}") == paid
    assert tenant.alice.get("/v1/payouts")["data"] == []
    assert tenant.alice.get("/v1/payouts?party=bob")["data"] == []
    for stranger in (tenant.alice, end_user(tenant, "carl", "seller")):
        assert stranger.ask("GET", f"/v1/payouts/{paid['id']}").status_code == httpx.codes.NOT_FOUND


def test_a_failed_payout_is_sent_again_where_the_platform_says(tenant: Tenant) -> None:
    """A seller may ask for another try, and only the platform may say where to."""
    tenant.ready()
    tenant.platform.put("/v1/parties/bob", {"payout_destination": "acct_closed_1"})
    failed = payout(tenant, "failed")
    path = f"/v1/payouts/{failed['id']}/retry"
    for bob in (tenant.bob, end_user(tenant, "bob", "seller")):
        stolen = bob.ask("POST", path, {"destination": "acct_thief"})
        assert (stolen.status_code, stolen.json()["code"]) == (403, "forbidden")
    assert tenant.operator.ask("POST", path, {"destination": "no such thing"}).status_code == 422
    first = tenant.operator.ask("POST", path, {"destination": "acct_bob_2"}, key="again")
    assert first.status_code == httpx.codes.OK
    assert tenant.operator.ask("POST", path, {"destination": "acct_bob_2"}, key="again").content == first.content
    eventually(lambda: tenant.platform.get(f"/v1/payouts/{failed['id']}")["status"] == "paid")
    assert tenant.platform.get(f"/v1/payouts/{failed['id']}")["destination"] == "acct_bob_2"


def test_the_manual_trigger_sends_all_that_is_held(tenant: Tenant) -> None:
    tenant.ready()
    tenant.platform.post("/v1/policies/release", {"payout": {"trigger": "manual"}})
    waiting = [released(tenant)["payouts"][0] for _ in range(2)]
    assert {(one["status"], one["hold"]) for one in waiting} == {("due", "manual")}
    assert tenant.alice.ask("POST", "/v1/parties/bob/payouts").status_code == httpx.codes.NOT_FOUND
    first = end_user(tenant, "bob", "seller").ask("POST", "/v1/parties/bob/payouts", key="all")
    assert first.status_code == httpx.codes.OK
    asked = first.json()["data"]
    assert {one["id"] for one in asked} == {one["id"] for one in waiting}
    assert all(one["hold"] is None for one in asked)
    eventually(lambda: len(tenant.platform.get("/v1/payouts?status=paid")["data"]) == 2)
    assert tenant.platform.post("/v1/parties/bob/payouts") == {"data": [], "has_more": False}


def test_what_still_has_to_wait_keeps_its_hold(tenant: Tenant) -> None:
    tenant.ready()
    tenant.platform.post("/v1/policies/release", {"payout": {"minimum": 10**9}})
    held = released(tenant)["payouts"][0]
    (asked,) = tenant.platform.post("/v1/parties/bob/payouts")["data"]
    assert (asked["id"], asked["status"], asked["hold"]) == (held["id"], "due", "minimum")
