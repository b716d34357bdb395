"""What is told of parties, by whom, and what of it is gone when they ask.

Source: http-contract.md; domain.md, section 12.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from activities.screening import ScreeningActivities
from activities.screening_providers.declared import DeclaredProvider
from ledger.keyring import Keyring
from tests.api.service import Api, Caller, Tenant
from tests.api.test_credentials import registered, token
from tests.servers import one, soon
from tests.workers import temporal
from worker import screening_worker

BOB = {"name": "Bob Builder", "email": "bob@example.com", "language": "th", "payout_destination": "acct_bob"}


def end_user(tenant: Tenant, party: str, role: str) -> Caller:
    """A buyer or seller who comes with a token of their own."""
    return Caller(tenant.http, token(registered(tenant), sub=party, role=role))


@asynccontextmanager
async def screening(api: Api) -> AsyncIterator[None]:
    """The worker that screens parties by what the tenant declared, while it lasts."""
    client, keys = await temporal(api.servers.endpoints), Keyring.parse(api.servers.endpoints.keys)
    async with screening_worker(client, ScreeningActivities(DeclaredProvider(), api.servers.engine, keys)):
        yield


def test_what_is_told_of_a_party_is_answered_and_the_rest_stays(tenant: Tenant) -> None:
    first = tenant.platform.put("/v1/parties/bob", BOB)
    assert {name: first[name] for name in BOB} == BOB
    assert (first["kyc_status"], first["blocked"], first["invalid_destination"]) == ("none", False, None)
    second = tenant.platform.put("/v1/parties/bob", {"kyc_status": "verified"})
    assert second == first | {"kyc_status": "verified"}
    assert tenant.platform.get("/v1/parties/bob") == second
    assert tenant.platform.put("/v1/parties/bob", {"kyc_status": "verified"}) == second


@pytest.mark.parametrize("path", ["/v1/parties/nobody", "/v1/parties/not%20an%20id", "/v1/parties/bob%00"])
def test_a_party_of_whom_nothing_was_told_is_not_there(tenant: Tenant, path: str) -> None:
    assert tenant.platform.ask("GET", path).status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(
    "wrong", [{"email": "bob"}, {"kyc_status": "fine"}, {"language": "fr"}, {"nickname": "B"}, {"name": 7}]
)
def test_what_cannot_be_is_refused_by_field(tenant: Tenant, wrong: dict[str, object]) -> None:
    answer = tenant.platform.ask("PUT", "/v1/parties/bob", wrong)
    assert (answer.status_code, answer.json()["errors"][0]["at"]) == (422, next(iter(wrong)))


def test_parties_are_listed_newest_first_a_page_at_a_time(tenant: Tenant) -> None:
    for name in ("anna", "bert", "carl"):
        tenant.platform.put(f"/v1/parties/{name}", {"name": name})
    first = tenant.platform.get("/v1/parties?limit=2")
    assert ([one["id"] for one in first["data"]], first["has_more"]) == (["carl", "bert"], True)
    rest = tenant.platform.get("/v1/parties?limit=2&starting_after=bert")
    assert ([one["id"] for one in rest["data"]], rest["has_more"]) == (["anna"], False)
    assert tenant.alice.ask("GET", "/v1/parties").status_code == httpx.codes.FORBIDDEN


def test_an_end_user_tells_who_it_is_and_neither_where_money_goes_nor_whether_it_is_verified(tenant: Tenant) -> None:
    """A stolen token must not redirect payouts."""
    tenant.platform.put("/v1/parties/bob", BOB)
    for bob in (end_user(tenant, "bob", "seller"), tenant.bob):
        assert bob.put("/v1/parties/bob", {"name": "Robert"})["name"] == "Robert"
        for denied in ({"payout_destination": "acct_thief"}, {"kyc_status": "verified"}):
            answer = bob.ask("PUT", "/v1/parties/bob", denied)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        for method, body in (("GET", None), ("PUT", {"name": "Mallory"})):
            assert bob.ask(method, "/v1/parties/alice", body).status_code == httpx.codes.NOT_FOUND
    assert tenant.platform.get("/v1/parties/bob")["payout_destination"] == "acct_bob"


def test_a_block_freezes_money_and_its_reason_is_not_told_to_the_party(tenant: Tenant) -> None:
    tenant.ready()
    escrow = tenant.create()
    assert tenant.platform.ask("POST", "/v1/parties/alice/block", {"because": "x"}).status_code == httpx.codes.FORBIDDEN
    blocked = tenant.operator.post("/v1/parties/alice/block", {"because": "a stolen card"})
    assert (blocked["blocked"], blocked["blocked_because"]) == (True, "a stolen card")
    assert "stolen" not in tenant.alice.ask("GET", "/v1/parties/alice").text
    refused = tenant.alice.ask("POST", f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"})
    assert (refused.json()["code"], "stolen" in refused.text) == ("party_blocked", False)
    assert tenant.operator.post("/v1/parties/alice/unblock")["blocked"] is False
    assert tenant.alice.post(f"/v1/escrows/{escrow['id']}/fund", {"source": "wallet"})["state"] == "funded"


def test_who_is_forgotten_leaves_no_name_and_keeps_the_money(tenant: Tenant, api: Api) -> None:
    tenant.ready()
    before = tenant.platform.put("/v1/parties/alice", {"name": "Alice Atwater", "email": "alice@example.com"})
    assert tenant.platform.ask("DELETE", "/v1/parties/alice/personal-data").status_code == httpx.codes.FORBIDDEN
    first = tenant.operator.ask("DELETE", "/v1/parties/alice/personal-data", key="forget")
    again = tenant.operator.ask("DELETE", "/v1/parties/alice/personal-data", key="forget")
    assert (first.status_code, again.status_code, first.content) == (204, 204, b"")
    forgotten = tenant.platform.get("/v1/parties/alice")
    assert forgotten == before | {"name": None, "email": None}
    assert tenant.platform.get("/v1/wallets/alice")["data"][0]["available"] == 10_000_000
    with api.servers.owner() as connection:
        kept = one(connection, "SELECT count(*) FROM personal_data WHERE tenant_id = %s AND party = 'alice'", tenant.id)
        answers = (
            "SELECT count(*) FROM idempotency WHERE tenant_id = %s AND path = '/v1/parties/alice' AND status <> 410"
        )
        assert (kept, one(connection, answers, tenant.id)) == (0, 0)


def test_what_was_asked_of_a_party_before_it_was_forgotten_is_not_done_again(tenant: Tenant) -> None:
    """Sent again under their keys, an old request lifts no block and another restores no name."""
    alice = {"name": "Alice Atwater", "email": "alice@example.com"}
    tenant.platform.put("/v1/parties/alice", alice, key="told")
    tenant.operator.post("/v1/parties/alice/unblock", key="unblocked")
    tenant.operator.post("/v1/parties/alice/block", {"because": "a stolen card"})
    assert tenant.operator.ask("DELETE", "/v1/parties/alice/personal-data", key="first").status_code == 204
    for caller, method, path, body, key in (
        (tenant.operator, "POST", "/v1/parties/alice/unblock", None, "unblocked"),
        (tenant.platform, "PUT", "/v1/parties/alice", alice, "told"),
    ):
        again = caller.ask(method, path, body, key=key)
        assert (again.status_code, again.json()["code"], again.json()["instance"]) == (410, "forgotten", path)
        assert again.headers["Content-Type"] == "application/problem+json"
        assert again.headers["Idempotent-Replayed"] == "true"
    seen = tenant.operator.get("/v1/parties/alice")
    assert (seen["name"], seen["email"], seen["blocked"]) == (None, None, True)
    other = tenant.platform.ask("PUT", "/v1/parties/alice", {"name": "Somebody"}, key="told")
    assert other.json()["code"] == "idempotency_key_reused"
    assert tenant.operator.ask("DELETE", "/v1/parties/alice/personal-data").status_code == 204
    assert tenant.operator.ask("DELETE", "/v1/parties/alice/personal-data", key="first").status_code == 204
    assert tenant.operator.post("/v1/parties/alice/unblock")["blocked"] is False


@pytest.mark.anyio
async def test_telling_of_a_party_has_it_screened_and_waiting_payouts_go(api: Api, tenant: Tenant) -> None:
    """Compliance held the payout; what the platform then tells of the seller lets it go, with nobody asking for it."""
    ready = await asyncio.to_thread(tenant.ready)
    ready.platform.post("/v1/policies/compliance", {"verified_above": {"payout": 0}})
    escrow = await asyncio.to_thread(ready.submitted)
    await asyncio.to_thread(tenant.alice.post, f"/v1/milestones/{escrow['milestones'][0]['id']}/approve")
    (held,) = tenant.platform.get("/v1/payouts?party=bob")["data"]
    assert (held["status"], held["hold"]) == ("due", "kyc")
    async with screening(api):
        await asyncio.to_thread(tenant.platform.put, "/v1/parties/bob", {"kyc_status": "verified"})

        async def paid() -> bool:
            found = await asyncio.to_thread(tenant.platform.get, f"/v1/payouts/{held['id']}")
            return bool(found["status"] == "paid")

        await soon(paid)
        found = await asyncio.to_thread(tenant.operator.post, "/v1/parties/bob/screen")
        assert (found["kyc_status"], found["blocked"], found["told"]) == ("verified", False, 0)
    assert tenant.platform.ask("POST", "/v1/parties/bob/screen").status_code == httpx.codes.FORBIDDEN
