"""Keys over HTTP: shown once, listed by their last characters. Source: http-contract.md, "Authentication"."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from ledger import keys
from ledger.engine import connect, for_tenant
from tests.api.service import Caller, Tenant
from tests.api.test_credentials import ED25519, public, registered, token
from tests.servers import one


def test_a_key_is_shown_once_and_then_known_by_its_ending(tenant: Tenant) -> None:
    first = tenant.operator.ask("POST", "/v1/api-keys", {"role": "platform", "name": "web shop"}, key="shop")
    assert first.status_code == httpx.codes.CREATED
    made = first.json()
    assert Caller(tenant.http, made["key"]).get("/v1/tenant")["role"] == "platform"
    assert (
        tenant.operator.ask("POST", "/v1/api-keys", {"role": "platform", "name": "web shop"}, key="shop").json() == made
    )
    listed = tenant.operator.ask("GET", "/v1/api-keys")
    (found,) = (entry for entry in listed.json()["data"] if entry["name"] == "web shop")
    assert found == {name: value for name, value in made.items() if name != "key"}
    assert (made["key"].endswith(found["ending"]), made["key"] in listed.text) == (True, False)


def test_a_key_that_is_shown_once_lies_in_no_row_in_clear(tenant: Tenant) -> None:
    """The answer is kept for whoever asks again, and encrypted."""
    made = tenant.operator.post("/v1/api-keys", {"role": "platform", "name": "web shop"})
    with tenant.api.servers.owner() as connection:
        query = "SELECT count(*) FROM idempotency WHERE tenant_id = %s AND position(%s::bytea IN body) > 0"
        assert one(connection, query, tenant.id, made["key"].encode()) == 0
        assert one(connection, query, tenant.id, b"") > 0


def test_keys_are_listed_newest_first_a_page_at_a_time(tenant: Tenant) -> None:
    for name in ("one", "two"):
        tenant.operator.post("/v1/api-keys", {"role": "read_only", "name": name})
    everything = tenant.operator.get("/v1/api-keys")["data"]
    assert [entry["name"] for entry in everything[:2]] == ["two", "one"]
    first = tenant.operator.get("/v1/api-keys?limit=3")
    rest = tenant.operator.get(f"/v1/api-keys?limit=3&starting_after={everything[2]['id']}")
    assert (first["data"] + rest["data"], first["has_more"], rest["has_more"]) == (everything, True, False)


def test_of_two_who_revoke_each_other_one_operator_key_stays(tenant: Tenant) -> None:
    """Without one nobody could make another."""
    second = tenant.operator.post("/v1/api-keys", {"role": "operator", "name": "second"})
    other = Caller(tenant.http, second["key"])
    operators = [entry["id"] for entry in tenant.operator.get("/v1/api-keys")["data"] if entry["role"] == "operator"]
    with ThreadPoolExecutor(2) as pool:
        asked = zip((tenant.operator, other), operators, strict=True)
        list(pool.map(lambda pair: pair[0].ask("DELETE", f"/v1/api-keys/{pair[1]}"), asked))
    answers = {caller.ask("GET", "/v1/api-keys").status_code for caller in (tenant.operator, other)}
    assert httpx.codes.OK in answers


def test_the_last_operator_key_that_does_not_expire_cannot_be_revoked(tenant: Tenant) -> None:
    """One that is about to expire is none that somebody could make another with tomorrow."""
    own = own_key(tenant)
    successor = tenant.operator.post(f"/v1/api-keys/{own}/rotate", {"grace": "PT1M"})
    refused = tenant.operator.ask("DELETE", f"/v1/api-keys/{successor['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    new = Caller(tenant.http, successor["key"])
    assert new.ask("DELETE", f"/v1/api-keys/{own}").status_code == httpx.codes.NO_CONTENT
    assert new.ask("GET", "/v1/api-keys").status_code == httpx.codes.OK


def test_the_key_that_asks_outlives_the_answer_with_its_successor(tenant: Tenant) -> None:
    own = own_key(tenant)
    for grace in ("PT0S", "PT59S"):
        refused = tenant.operator.ask("POST", f"/v1/api-keys/{own}/rotate", {"grace": grace})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_command")
        assert "PT1M" in refused.json()["detail"]
    made = tenant.operator.post(f"/v1/api-keys/{own}/rotate", {"grace": "PT1M"}, key="rotate")
    assert tenant.operator.post(f"/v1/api-keys/{own}/rotate", {"grace": "PT1M"}, key="rotate") == made


def test_rotating_makes_no_more_keys_than_a_tenant_may_have(tenant: Tenant) -> None:
    there = len(tenant.operator.get("/v1/api-keys")["data"])
    made = [tenant.operator.post("/v1/api-keys", {"role": "read_only", "name": "one"}) for _ in range(there, 50)]
    path = f"/v1/api-keys/{made[0]['id']}/rotate"
    refused = tenant.operator.ask("POST", path, {"grace": "P1D"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_command")
    assert Caller(tenant.http, made[0]["key"]).ask("GET", "/v1/escrows").status_code == httpx.codes.OK
    assert tenant.operator.ask("POST", path, {"grace": "PT0S"}).status_code == httpx.codes.CREATED
    usable = [one for one in tenant.operator.get("/v1/api-keys?limit=100")["data"] if one["expires_at"] is None]
    assert len(usable) == 50


def test_a_request_whose_process_died_makes_one_key_all_the_same(tenant: Tenant) -> None:
    """Its secret is a new one: nobody saw the first."""
    body = {"role": "platform", "name": "web shop"}
    spare = tenant.operator.post("/v1/api-keys", body)
    asked = {
        "/v1/api-keys": body,
        f"/v1/api-keys/{spare['id']}/rotate": {"grace": "PT0S"},
        "/v1/jwt-keys": {"name": "our login", "public_key": public(ED25519)},
    }
    before = {path: tenant.operator.get(path)["data"] for path in ("/v1/api-keys", "/v1/jwt-keys")}
    for path, said in asked.items():
        key = uuid4().hex
        first = tenant.operator.post(path, said, key=key)
        with tenant.api.servers.owner() as connection:
            connection.execute(
                """UPDATE idempotency SET status = NULL, headers = NULL, body = NULL, lease_until = '-infinity'
                   WHERE tenant_id = %s AND key = %s""",
                (tenant.id, key),
            )
        again = tenant.operator.post(path, said, key=key)
        assert again["id"] == first["id"], path
        if "key" in again:
            assert Caller(tenant.http, again["key"]).ask("GET", "/v1/escrows").status_code == httpx.codes.OK
            assert Caller(tenant.http, first["key"]).ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED
    assert len(tenant.operator.get("/v1/api-keys")["data"]) == len(before["/v1/api-keys"]) + 2
    assert len(tenant.operator.get("/v1/jwt-keys")["data"]) == len(before["/v1/jwt-keys"]) + 1


def test_a_key_that_was_revoked_meanwhile_stays_revoked(tenant: Tenant) -> None:
    """Whoever carries its request out again gets a secret that opens nothing."""
    engine = connect(tenant.api.servers.endpoints.api_database_url, 1)
    try:
        own = for_tenant(engine, tenant.id)
        identifier = "key_01jd3v6k9q4m8n2p5r7s0t1w3x"
        keys.create_key(own, tenant.id, "platform", "shop", identifier)
        keys.revoke_key(own, tenant.id, identifier)
        again = keys.create_key(own, tenant.id, "platform", "shop", identifier)
        assert (again.id, keys.holder(engine, again.secret)) == (identifier, None)
        assert keys.rotate_key(own, tenant.id, own_key(tenant), timedelta(days=1)).id != identifier
    finally:
        engine.dispose()


def own_key(tenant: Tenant) -> str:
    """The id of the operator's key that the tenant was made with."""
    found = tenant.operator.get("/v1/api-keys?limit=100")["data"]
    return next(str(one["id"]) for one in found if tenant.operator.key.endswith(one["ending"]))


def test_a_revoked_public_key_verifies_nothing_any_more(tenant: Tenant) -> None:
    kid = registered(tenant)
    alice = Caller(tenant.http, token(kid))
    assert alice.ask("GET", "/v1/escrows").status_code == httpx.codes.OK
    assert tenant.operator.get("/v1/jwt-keys")["data"][0]["algorithm"] == "EdDSA"
    assert tenant.operator.ask("DELETE", f"/v1/jwt-keys/{kid}").status_code == httpx.codes.NO_CONTENT
    assert alice.ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED
    assert tenant.operator.get("/v1/jwt-keys")["data"][0]["revoked_at"] is not None


@pytest.mark.parametrize("path", ["/v1/api-keys/key_1", "/v1/jwt-keys/jwk_1", "/v1/api-keys/%00"])
def test_a_key_that_there_is_not_is_not_found(tenant: Tenant, path: str) -> None:
    assert tenant.operator.ask("DELETE", path).status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize("body", [{"role": "owner", "name": "x"}, {"role": "platform"}, {"name": "x", "role": None}])
def test_a_key_that_cannot_be_is_refused(tenant: Tenant, body: dict[str, object]) -> None:
    assert tenant.operator.ask("POST", "/v1/api-keys", body).status_code == 422


def test_another_tenants_key_is_not_there_to_revoke(tenant: Tenant) -> None:
    other = tenant.api.tenant()
    theirs = other.operator.get("/v1/api-keys")["data"][0]["id"]
    assert tenant.operator.ask("DELETE", f"/v1/api-keys/{theirs}").status_code == httpx.codes.NOT_FOUND
    assert tenant.operator.ask("POST", f"/v1/api-keys/{theirs}/rotate").status_code == httpx.codes.NOT_FOUND
    assert other.operator.ask("GET", "/v1/escrows").status_code == httpx.codes.OK
