"""Every route, asked with another tenant's key: nothing of the first tenant is seen, and nothing of it changes."""

import re
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.api.service import Api, Caller, Tenant

MARK: Final = "Unmistakable"
EVIDENCE: Final = [{"name": "design.pdf", "url": "https://files.example/design.pdf"}]
# What a route wants to be told before it looks for what its path names. A route that is missing here fails the test.
BODIES: Final[dict[str, Any]] = {
    "PUT /v1/escrows/{escrow}": {"title": "Mine now"},
    "POST /v1/escrows/{escrow}/fund": {"source": "wallet"},
    "POST /v1/escrows/{escrow}/milestones": {"title": "Mine now", "amount": 1},
    "POST /v1/escrows/{escrow}/disputes": {"reason": "late", "description": "It is late."},
    "PUT /v1/milestones/{milestone}": {"title": "Mine now"},
    "POST /v1/milestones/{milestone}/reject": {"reason": "no"},
    "POST /v1/milestones/{milestone}/reverse": {"amount": 1, "reason": "no"},
    "POST /v1/disputes/{dispute}/evidence": {"statement": "mine"},
    "POST /v1/disputes/{dispute}/resolve": {"resolution": "buyer_favor", "details": "mine"},
    "PUT /api/projects/milestones/{milestone}/": {"name": "Mine now"},
    "POST /v1/api-keys/{key}/rotate": {"grace": "PT0S"},
    "PATCH /v1/webhook-endpoints/{endpoint}": {"description": "Mine now"},
}
# Paths that name a party, a kind, a number: the same names may stand for things of one's own.
OWN_NAMES: Final = re.compile(r"^/v1/(parties|wallets|policies|exchange-rates|commands)\b")


@pytest.fixture(scope="module")
def victim(api: Api) -> Tenant:
    """A tenant with one of everything."""
    tenant = api.tenant().ready()
    escrow = tenant.submitted(title=f"{MARK} redesign", metadata={"order": MARK})
    tenant.alice.post(f"/v1/milestones/{escrow['milestones'][0]['id']}/approve")
    dispute = {"reason": f"{MARK} reason", "description": f"{MARK} description", "evidence": EVIDENCE}
    tenant.alice.post(f"/v1/escrows/{escrow['id']}/disputes", dispute)
    return tenant


@pytest.fixture(scope="module")
def named(victim: Tenant) -> dict[str, str]:
    """What the placeholders of paths stand for: things of the victim's."""
    escrow = victim.platform.get("/v1/escrows")["data"][0]
    endpoint = victim.platform.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/hook", "events": ["*"]})
    event = victim.platform.get(f"/v1/escrows/{escrow['id']}/events")["data"][0]
    jwt = victim.operator.get("/v1/jwt-keys")["data"]
    return {
        "escrow": escrow["id"],
        "milestone": escrow["milestones"][0]["id"],
        "dispute": escrow["disputes"][0]["id"],
        "payout": escrow["payouts"][0]["id"],
        "endpoint": endpoint["id"],
        "event": event["id"],
        "key": (jwt or victim.operator.get("/v1/api-keys")["data"])[0]["id"],
        "party": "alice",
        "charge": "chg_01jd3v6k9q4m8n2p5r7s0t1w3x",
        "command": "some-command",
        "kind": "fees",
        "version": "1",
        "name": "stripe",
    }


def operations(api: Api) -> Iterator[tuple[str, str]]:
    """Every operation of the API as its own document has it."""
    document = httpx.get(f"{api.address}/openapi.json", trust_env=False).json()
    for path, methods in document["paths"].items():
        for method in methods:
            yield method.upper(), path


def test_every_route_hides_a_tenant_from_every_key_of_another(api: Api, victim: Tenant, named: dict[str, str]) -> None:
    other = api.tenant()
    before = victim.platform.get(f"/v1/escrows/{named['escrow']}")
    asked = 0
    for method, path in operations(api):
        if "{" not in path or "/gateways/" in path:
            continue
        filled = path.format_map(named)
        for caller in (other.operator, other.platform.acting("buyer:alice"), other.operator.acting("seller:bob")):
            answer = caller.ask(method, filled, BODIES.get(f"{method} {path}"))
            asked += 1
            about = f"{method} {path} as {caller.actor}: {answer.status_code} {answer.text[:300]}"
            assert MARK not in answer.text, about
            assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, about
            if not OWN_NAMES.match(path) and answer.status_code != httpx.codes.FORBIDDEN:
                assert answer.status_code == httpx.codes.NOT_FOUND, about
    assert asked > 100
    assert victim.platform.get(f"/v1/escrows/{named['escrow']}") == before


def test_every_list_and_report_shows_ones_own_alone(api: Api, victim: Tenant, named: dict[str, str]) -> None:
    other = api.tenant()
    hidden = {value for name, value in named.items() if "_" in value and name != "charge"}
    for method, path in operations(api):
        if method != "GET" or "{" in path or not path.startswith(("/v1", "/api")):
            continue
        answer = other.operator.ask("GET", path)
        assert answer.status_code == httpx.codes.OK, f"{path}: {answer.text}"
        assert MARK not in answer.text
        assert not [one for one in hidden if one in answer.text], path
    assert victim.platform.get("/v1/escrows")["data"]


def test_every_route_wants_a_key(api: Api, named: dict[str, str]) -> None:
    nobody = Caller(httpx.Client(base_url=api.address, trust_env=False), "hf_test_nobody")
    for method, path in operations(api):
        if not path.startswith(("/v1", "/api")) or "/gateways/" in path:
            continue
        answer = nobody.ask(method, path.format_map(named), {})
        assert answer.status_code == httpx.codes.UNAUTHORIZED, f"{method} {path}: {answer.text}"
