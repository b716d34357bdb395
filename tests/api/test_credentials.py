"""Who may come in, as whom, and until when. Source: http-contract.md, "Authentication"."""

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as p256
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.api.service import Api, Caller, Tenant
from tests.api.service import api as running_api
from tests.servers import one

if TYPE_CHECKING:
    from tests.servers import Servers

ED25519: Final = Ed25519PrivateKey.generate()


def public(key: Any) -> str:
    """The public key in PEM."""
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def token(kid: str, key: Any = ED25519, algorithm: str = "EdDSA", **claims: Any) -> str:
    """An end user's token: alice, who buys, for an hour, unless the claims say otherwise; None leaves one out, and a
    duration is a moment that far from now."""
    now = int(time.time())
    moments = {name: now + int(one.total_seconds()) for name, one in claims.items() if isinstance(one, timedelta)}
    said = {"sub": "alice", "role": "buyer", "aud": "holdfast", "iat": now, "exp": now + 3600} | claims | moments
    return jwt.encode({k: v for k, v in said.items() if v is not None}, key, algorithm, headers={"kid": kid})


def registered(tenant: Tenant, key: Any = ED25519) -> str:
    """The id of a public key that the tenant registers."""
    made = tenant.operator.post("/v1/jwt-keys", {"name": "our login", "public_key": public(key)})
    return str(made["id"])


def test_a_tenant_gets_four_keys_and_an_unknown_one_opens_nothing(tenant: Tenant) -> None:
    assert tenant.made["test_key"].startswith("hf_test_")
    assert tenant.made["live_key"].startswith("hf_live_")
    for key in ("hf_test_0", "nonsense", tenant.made["test_key"][:-1], f"{tenant.made['test_key']}0"):
        answer = Caller(tenant.http, key).ask("GET", "/v1/escrows")
        assert answer.status_code == httpx.codes.UNAUTHORIZED, key
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_no_key_is_kept_in_the_database(api: Api, tenant: Tenant) -> None:
    with api.servers.owner() as connection:
        everything = one(connection, "SELECT string_agg(k::text, '') FROM api_key k")
    for name in ("test_key", "live_key", "operator_test_key", "operator_live_key"):
        assert tenant.made[name] not in everything


def test_live_and_test_keys_open_different_books(tenant: Tenant) -> None:
    escrow = tenant.create()
    live = Caller(tenant.http, tenant.made["live_key"])
    assert live.ask("GET", f"/v1/escrows/{escrow['id']}").status_code == httpx.codes.NOT_FOUND
    assert live.get("/v1/escrows")["data"] == []


def test_only_the_bootstrap_secret_makes_tenants(api: Api, tenant: Tenant) -> None:
    body = {"name": "Another", "reporting_currency": "EUR"}
    for key in (tenant.made["operator_live_key"], "hf_bootstrap_wrong"):
        answer = Caller(tenant.http, key).ask("POST", "/v1/tenants", body)
        assert answer.status_code == httpx.codes.UNAUTHORIZED
    secret = api.servers.endpoints.bootstrap_secret
    made = Caller(tenant.http, secret)
    first = made.ask("POST", "/v1/tenants", body, key="bootstrap-once-" + tenant.id)
    again = made.ask("POST", "/v1/tenants", body, key="bootstrap-once-" + tenant.id)
    assert first.status_code == httpx.codes.CREATED
    assert first.json() == again.json()
    assert made.ask("POST", "/v1/tenants", body | {"reporting_currency": "EURO"}).status_code == 422
    assert made.ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED


def test_whoever_guesses_the_bootstrap_secret_locks_nobody_out_who_knows_it(
    servers: "Servers", api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("guessing") / "api.log"
    with running_api(servers, log, HOLDFAST_API_REQUESTS_PER_SECOND="1") as slow:
        body = {"name": "Another", "reporting_currency": "EUR"}
        with httpx.Client(base_url=slow.address, trust_env=False) as http:
            guessed = [Caller(http, "hf_bootstrap_wrong").ask("POST", "/v1/tenants", body) for _ in range(10)]
            known = Caller(http, slow.servers.endpoints.bootstrap_secret).ask("POST", "/v1/tenants", body)
        assert {one.status_code for one in guessed} == {401, 429}
        assert known.status_code == httpx.codes.CREATED


def test_a_rotated_key_goes_on_for_its_time_and_a_revoked_one_not(tenant: Tenant) -> None:
    keys = tenant.operator.get("/v1/api-keys")["data"]
    platform = next(one for one in keys if one["role"] == "platform")
    new = tenant.operator.post(f"/v1/api-keys/{platform['id']}/rotate", {"grace": "P1D"})
    renewed = Caller(tenant.http, new["key"])
    assert renewed.get("/v1/escrows") == tenant.platform.get("/v1/escrows")
    tenant.operator.ask("DELETE", f"/v1/api-keys/{platform['id']}")
    assert tenant.platform.ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED
    assert renewed.ask("GET", "/v1/escrows").status_code == httpx.codes.OK
    at_once = tenant.operator.post(f"/v1/api-keys/{new['id']}/rotate", {"grace": "PT0S"})
    assert renewed.ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED
    assert Caller(tenant.http, at_once["key"]).ask("GET", "/v1/escrows").status_code == httpx.codes.OK


def test_the_last_operator_key_cannot_be_revoked(tenant: Tenant) -> None:
    keys = tenant.operator.get("/v1/api-keys")["data"]
    operator = next(one for one in keys if one["role"] == "operator")
    answer = tenant.operator.ask("DELETE", f"/v1/api-keys/{operator['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert tenant.operator.ask("GET", "/v1/escrows").status_code == httpx.codes.OK


def test_a_key_that_only_reads_changes_nothing(tenant: Tenant) -> None:
    made = tenant.operator.post("/v1/api-keys", {"role": "read_only", "name": "reports"})
    reader = Caller(tenant.http, made["key"])
    escrow = tenant.create()
    assert reader.get(f"/v1/escrows/{escrow['id']}") == tenant.platform.get(f"/v1/escrows/{escrow['id']}")
    answer = reader.ask("POST", f"/v1/escrows/{escrow['id']}/cancel", {})
    assert answer.status_code == httpx.codes.FORBIDDEN
    assert reader.ask("GET", "/v1/api-keys").status_code == httpx.codes.FORBIDDEN
    assert tenant.platform.get(f"/v1/escrows/{escrow['id']}")["state"] == "created"


def test_keys_are_for_operators(tenant: Tenant) -> None:
    for method, path in (("GET", "/v1/api-keys"), ("POST", "/v1/api-keys"), ("GET", "/v1/jwt-keys")):
        body = {"role": "operator", "name": "mine"} if method == "POST" else None
        assert tenant.platform.ask(method, path, body).status_code == httpx.codes.FORBIDDEN


@pytest.mark.parametrize("actor", ["buyer", "buyer:", ":alice", "system:alice", "buyer:al ice", "buyer:a@b.example"])
def test_an_actor_that_is_none_is_refused(tenant: Tenant, actor: str) -> None:
    answer = tenant.platform.acting(actor).ask("GET", "/v1/escrows")
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert "Holdfast-Actor" in answer.json()["detail"]


def test_a_platform_key_cannot_act_as_an_operator(tenant: Tenant) -> None:
    assert tenant.platform.acting("operator:olga").ask("GET", "/v1/escrows").status_code == httpx.codes.FORBIDDEN
    assert tenant.operator.acting("operator:olga").ask("GET", "/v1/escrows").status_code == httpx.codes.OK


def test_a_party_sees_its_own_escrows_alone(tenant: Tenant) -> None:
    escrow = tenant.create()
    stranger = tenant.platform.acting("buyer:mallory")
    assert [one["id"] for one in tenant.alice.get("/v1/escrows")["data"]] == [escrow["id"]]
    assert stranger.get("/v1/escrows")["data"] == []
    for path in (f"/v1/escrows/{escrow['id']}", f"/v1/milestones/{escrow['milestones'][0]['id']}"):
        assert stranger.ask("GET", path).status_code == httpx.codes.NOT_FOUND
    assert stranger.ask("POST", f"/v1/escrows/{escrow['id']}/cancel").status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize(
    ("make", "algorithm"),
    [
        (lambda: ED25519, "EdDSA"),
        (lambda: p256(SECP256R1()), "ES256"),
        (lambda: rsa(public_exponent=65537, key_size=2048), "RS256"),
    ],
)
def test_an_end_user_comes_with_a_token_of_the_tenants_key(tenant: Tenant, make: Any, algorithm: str) -> None:
    escrow, key = tenant.create(), make()
    alice = Caller(tenant.http, token(registered(tenant, key), key, algorithm))
    assert [one["id"] for one in alice.get("/v1/escrows")["data"]] == [escrow["id"]]
    cancelled = alice.post(f"/v1/escrows/{escrow['id']}/cancel", {"reason": "changed my mind"})
    assert cancelled["state"] == "cancelled"


def test_a_token_acts_for_its_bearer_alone(tenant: Tenant) -> None:
    tenant.create()
    kid = registered(tenant)
    alice = Caller(tenant.http, token(kid))
    assert alice.acting("buyer:alice").ask("GET", "/v1/escrows").status_code == httpx.codes.OK
    assert alice.acting("seller:bob").ask("GET", "/v1/escrows").status_code == httpx.codes.FORBIDDEN
    for path in ("/v1/api-keys", "/v1/reports/trial-balance", "/v1/webhook-endpoints", "/v1/wallets/bob"):
        assert alice.ask("GET", path).status_code in {httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND}, path


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": timedelta(hours=-1)},
        {"exp": None},
        {"aud": "someone-else"},
        {"aud": None},
        {"sub": None},
        {"sub": "not a party"},
        {"role": "operator"},
        {"role": "system"},
        {"role": None},
        {"iat": None},
        {"exp": timedelta(days=30)},
        {"nbf": timedelta(hours=1)},
    ],
    ids=str,
)
def test_a_token_with_other_claims_is_refused(tenant: Tenant, claims: dict[str, Any]) -> None:
    answer = Caller(tenant.http, token(registered(tenant), **claims)).ask("GET", "/v1/escrows")
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_token_is_verified_with_the_key_and_algorithm_that_were_registered(tenant: Tenant) -> None:
    kid = registered(tenant)
    forged = token(kid, Ed25519PrivateKey.generate())
    none = jwt.encode({"sub": "alice", "role": "buyer"}, "", "none", headers={"kid": kid})
    # The public key is public: as an HMAC secret it must open nothing.
    secret = public(ED25519).replace("-----BEGIN PUBLIC KEY-----", "").replace("-----END PUBLIC KEY-----", "").strip()
    confused = token(kid, secret, "HS256")
    for bad in (forged, none, confused, token("jwk_01jd3v6k9q4m8n2p5r7s0t1w3x"), "a.b.c"):
        assert Caller(tenant.http, bad).ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED
    tenant.operator.ask("DELETE", f"/v1/jwt-keys/{kid}")
    assert Caller(tenant.http, token(kid)).ask("GET", "/v1/escrows").status_code == httpx.codes.UNAUTHORIZED


def test_a_weak_or_private_key_is_not_registered(tenant: Tenant) -> None:
    weak = rsa(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    for pem in (public(weak), "nonsense", "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----"):
        answer = tenant.operator.ask("POST", "/v1/jwt-keys", {"name": "our login", "public_key": pem})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_command")


def test_end_users_cannot_use_up_each_others_idempotency_keys(tenant: Tenant) -> None:
    first, second = tenant.create(), tenant.create(buyer="carol")
    kid = registered(tenant)
    alice, carol = (Caller(tenant.http, token(kid, sub=one)) for one in ("alice", "carol"))
    assert alice.post(f"/v1/escrows/{first['id']}/cancel", {}, key="cancel")["state"] == "cancelled"
    assert carol.post(f"/v1/escrows/{second['id']}/cancel", {}, key="cancel")["state"] == "cancelled"


def test_nobody_elses_key_can_be_written_as_an_end_users(tenant: Tenant) -> None:
    first, second = tenant.create(), tenant.create()
    alice = Caller(tenant.http, token(registered(tenant)))
    for key in ("@buyer:alice/mine", "~mine"):
        answer = tenant.alice.ask("POST", f"/v1/escrows/{first['id']}/cancel", {}, key=key)
        assert answer.status_code == httpx.codes.BAD_REQUEST, key
    tenant.alice.post(f"/v1/escrows/{first['id']}/cancel", {}, key="buyer:alice/mine")
    assert alice.post(f"/v1/escrows/{second['id']}/cancel", {}, key="mine")["state"] == "cancelled"
    assert alice.get("/v1/commands/mine") == {
        "id": "mine", "escrow": second["id"], "name": "cancel", "status": "accepted", "code": None, "message": None,
    }  # fmt: skip
