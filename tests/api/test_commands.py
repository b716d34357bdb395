"""What became of a command, and who one is: for whoever got no answer in time. Source: http-contract.md, "Habits"."""

from urllib.parse import quote

import httpx
import pytest

from tests.api.service import Caller, Tenant
from tests.api.test_parties import end_user


def test_a_command_is_found_by_its_idempotency_key(tenant: Tenant) -> None:
    escrow = tenant.ready().create()
    key = "order/17?fund#1%"
    tenant.alice.post(f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"}, key=key)
    found = tenant.platform.get(f"/v1/commands/{quote(key, safe='')}")
    expected = {"id": key, "escrow": escrow["id"], "name": "fund", "status": "accepted", "code": None, "message": None}
    assert found == expected


def test_a_refused_command_says_why_and_an_unknown_one_that_nobody_knows(tenant: Tenant) -> None:
    escrow = tenant.ready().create()
    refused = tenant.alice.ask("POST", f"/v1/escrows/{escrow['id']}/start", key="too-early")
    found = tenant.platform.get("/v1/commands/too-early")
    assert (found["status"], found["code"], found["message"]) == (
        "refused", refused.json()["code"], refused.json()["detail"],
    )  # fmt: skip
    assert tenant.platform.get("/v1/commands/never-sent")["status"] == "unknown"
    assert tenant.api.tenant().platform.get("/v1/commands/too-early")["status"] == "unknown"


def test_a_party_sees_what_became_of_its_own_commands(tenant: Tenant) -> None:
    escrow = tenant.ready().create()
    alice, bob = end_user(tenant, "alice", "buyer"), end_user(tenant, "bob", "seller")
    alice.post(f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"}, key="pay")
    assert alice.get("/v1/commands/pay")["status"] == "accepted"
    assert bob.get("/v1/commands/pay") == bob.get("/v1/commands/none") | {"id": "pay"}
    kept = "@buyer:alice/pay"  # as the platform finds it
    assert tenant.platform.get(f"/v1/commands/{kept}")["status"] == "accepted"
    assert bob.get(f"/v1/commands/{kept}")["status"] == "unknown"


@pytest.mark.parametrize("path", ["%00", "a%20b", "%7Esystem", "a" * 256, "%C3%A9"])
def test_what_cannot_be_a_command_is_not_there(tenant: Tenant, path: str) -> None:
    assert tenant.platform.ask("GET", f"/v1/commands/{path}").status_code == httpx.codes.NOT_FOUND


def test_a_key_learns_whose_it_is_and_for_whom_it_acts(tenant: Tenant) -> None:
    whose = {"id": tenant.id, "name": "Market", "mode": "test", "reporting_currency": "EUR"}
    assert tenant.platform.get("/v1/tenant") == whose | {"role": "platform", "actor": "platform"}
    assert tenant.alice.get("/v1/tenant") == whose | {"role": "platform", "actor": "buyer:alice"}
    assert tenant.operator.get("/v1/tenant")["actor"] == "operator"
    assert end_user(tenant, "bob", "seller").get("/v1/tenant") == whose | {"role": "party", "actor": "seller:bob"}
    live = Caller(tenant.http, tenant.made["live_key"]).get("/v1/tenant")
    assert (live["id"], live["mode"]) == (tenant.made["id"], "live")
