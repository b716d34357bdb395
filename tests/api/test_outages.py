"""Something is away: nothing is half done, reads go on where they can, and the same key finds out afterwards."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api.service import Api, Caller, Tenant
from tests.api.service import api as running_api
from tests.gateway.sandbox_process import free_port
from tests.servers import eventually, one

if TYPE_CHECKING:
    from tests.servers import Servers

CREATE = {"buyer": "alice", "seller": "bob", "amount": 500000, "currency": "EUR", "title": "Website redesign"}


@pytest.fixture(scope="module")
def cut_off(servers: "Servers", api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API process that does not reach Temporal."""
    nowhere = replace(servers, endpoints=replace(servers.endpoints, temporal_address=f"127.0.0.1:{free_port()}"))
    with running_api(nowhere, tmp_path_factory.mktemp("cut-off") / "api.log") as running:
        yield running


@contextmanager
def locked_out(servers: "Servers", role: str) -> Iterator[None]:
    """Throw a role out of PostgreSQL and let it in again afterwards."""
    with closing(servers.superuser("postgres")) as connection:
        connection.execute(f"ALTER ROLE {role} NOLOGIN".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,))
        try:
            yield
        finally:
            connection.execute(f"ALTER ROLE {role} LOGIN".encode())
            servers.engine.dispose()


def through(api: Api, caller: Caller) -> Caller:
    """The same caller, by another process."""
    return Caller(httpx.Client(base_url=api.address, timeout=60, trust_env=False), caller.key, caller.actor)


def test_edge_48_without_temporal_commands_are_503_and_reads_go_on(tenant: Tenant, cut_off: Api) -> None:
    escrow = tenant.create()
    there = through(cut_off, tenant.platform)
    assert there.get(f"/v1/escrows/{escrow['id']}") == tenant.platform.get(f"/v1/escrows/{escrow['id']}")
    answer = there.ask("POST", f"/v1/escrows/{escrow['id']}/cancel", {}, key="cancel")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"]
    assert tenant.platform.get(f"/v1/escrows/{escrow['id']}")["state"] == "created"


def test_edge_48_the_same_key_goes_through_when_temporal_is_back(tenant: Tenant, cut_off: Api) -> None:
    first = through(cut_off, tenant.platform).ask("POST", "/v1/escrows", CREATE, key="create")
    assert first.status_code == httpx.codes.SERVICE_UNAVAILABLE
    made = tenant.platform.ask("POST", "/v1/escrows", CREATE, key="create")
    assert made.status_code == httpx.codes.CREATED
    assert "Idempotent-Replayed" not in made.headers
    assert len(tenant.platform.get("/v1/escrows")["data"]) == 1


def test_edge_47_without_postgresql_everything_is_503_and_works_again_afterwards(tenant: Tenant) -> None:
    escrow = tenant.create()
    with locked_out(tenant.api.servers, "holdfast_api"):
        for method, path in (("GET", "/v1/escrows"), ("POST", f"/v1/escrows/{escrow['id']}/cancel")):
            answer = tenant.platform.ask(method, path)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert answer.headers["Retry-After"]
            assert "holdfast_api" not in answer.text
        assert tenant.http.get("/healthz").status_code == httpx.codes.OK
    cancelled = eventually(
        lambda: tenant.platform.acting("buyer:alice").ask("POST", f"/v1/escrows/{escrow['id']}/cancel")
    )
    assert cancelled.json()["state"] == "cancelled"


def test_requests_that_wait_in_postgresql_end_and_keep_no_other_tenant_outside(tenant: Tenant) -> None:
    """Thirty requests wait for a row that somebody has locked: whose key another one is, is found out all the same."""
    tenant.platform.put("/v1/parties/bob", {"payout_destination": "acct_bob"})
    other = tenant.api.tenant()
    http = httpx.Client(
        base_url=tenant.api.address, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=100)
    )
    patient, waiting = Caller(http, tenant.operator.key), "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with closing(tenant.api.servers.owner()) as locking, closing(tenant.api.servers.superuser()) as watching:
        locking.execute("SELECT FROM party WHERE tenant_id = %s FOR UPDATE", (tenant.id,))
        with ThreadPoolExecutor(30) as pool:
            body = {"payout_destination": "acct_new"}
            asked = [pool.submit(patient.ask, "PUT", "/v1/parties/bob", body) for _ in range(30)]
            eventually(lambda: one(watching, waiting) >= 15)
            began = monotonic()
            for key in ("hf_test_unknown", other.made["live_key"][:-1]):
                refused = Caller(other.http, key).ask("GET", "/v1/tenant")
                assert refused.status_code == httpx.codes.UNAUTHORIZED
            assert monotonic() - began < 2
            answers = [answer.result() for answer in asked]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(503, "unavailable")}
    assert tenant.operator.put("/v1/parties/bob", body)["payout_destination"] == "acct_new"


def test_edge_47_a_command_whose_outcome_cannot_be_learned_is_202_and_then_known(tenant: Tenant) -> None:
    escrow = tenant.create()
    path = f"/v1/escrows/{escrow['id']}/cancel"
    with locked_out(tenant.api.servers, "holdfast_app"):  # the workers' PostgreSQL: ours is there
        answer = tenant.alice.ask("POST", path, {}, key="cancel")
        assert answer.status_code == httpx.codes.ACCEPTED
        assert answer.json() == {"status": "unknown", "status_url": "/v1/commands/cancel"}
        assert tenant.alice.get("/v1/commands/cancel")["status"] == "unknown"
    known = eventually(
        lambda: (found := tenant.alice.get("/v1/commands/cancel"))["status"] == "accepted" and found, within=45
    )
    assert known["escrow"] == escrow["id"]
    again = tenant.alice.ask("POST", path, {}, key="cancel")
    assert (again.status_code, again.json()["state"]) == (httpx.codes.OK, "cancelled")
    with tenant.api.servers.owner() as connection:
        assert one(connection, "SELECT count(*) FROM audit WHERE escrow_id = %s AND name = 'cancel'", escrow["id"]) == 1
