"""What changes something happens once per Idempotency-Key, whoever repeats it. Source: http-contract.md, "Habits"."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from ledger.answers import Answer, Answers, Claim
from ledger.engine import connect, for_tenant
from ledger.keyring import Keyring
from tests.api.service import Api, Caller, Tenant
from tests.api.service import api as running_api
from tests.servers import one

if TYPE_CHECKING:
    from tests.servers import Servers

CREATE = {"buyer": "alice", "seller": "bob", "amount": 500000, "currency": "EUR", "title": "Website redesign"}


@pytest.fixture(scope="module")
def second(servers: "Servers", api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Another API process beside the first."""
    with running_api(servers, tmp_path_factory.mktemp("second") / "api.log") as running:
        yield running


def count(tenant: Tenant, table: str) -> int:
    """How many rows of a table are the tenant's."""
    with tenant.api.servers.owner() as connection:
        return int(one(connection, f"SELECT count(*) FROM {table} WHERE tenant_id = %s", tenant.id))


def test_a_change_without_a_key_is_refused(tenant: Tenant) -> None:
    headers = {"Authorization": f"Bearer {tenant.platform.key}"}
    answer = tenant.http.post("/v1/escrows", json=CREATE, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")
    assert count(tenant, "escrow") == 0


@pytest.mark.parametrize("key", ["~mine", "a b", "x" * 151, "\x7f"])
def test_a_key_that_cannot_be_one_is_refused(tenant: Tenant, key: str) -> None:
    answer = tenant.platform.ask("POST", "/v1/escrows", CREATE, key=key)
    assert answer.status_code == httpx.codes.BAD_REQUEST


def test_the_same_key_for_another_request_is_refused(tenant: Tenant) -> None:
    first = tenant.platform.post("/v1/escrows", CREATE, key="one")
    for body in (CREATE | {"amount": 500001}, CREATE | {"metadata": {}}):
        answer = tenant.platform.ask("POST", "/v1/escrows", body, key="one")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    elsewhere = tenant.platform.ask("POST", f"/v1/escrows/{first['id']}/cancel", CREATE, key="one")
    assert elsewhere.json()["code"] == "idempotency_key_reused"
    assert count(tenant, "escrow") == 1


def test_the_order_of_fields_makes_no_other_request(tenant: Tenant) -> None:
    first = tenant.platform.ask("POST", "/v1/escrows", CREATE, key="one")
    again = tenant.platform.ask("POST", "/v1/escrows", dict(reversed(CREATE.items())), key="one")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()


def test_a_definite_refusal_is_answered_again_after_things_have_changed(tenant: Tenant) -> None:
    escrow = tenant.create()
    path = f"/v1/escrows/{escrow['id']}/start"
    first = tenant.bob.ask("POST", path, key="too-early")
    assert (first.status_code, first.json()["code"]) == (409, "invalid_transition")
    again = tenant.bob.ask("POST", path, key="too-early")
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_what_never_was_a_request_does_not_use_up_its_key(tenant: Tenant) -> None:
    assert tenant.platform.ask("POST", "/v1/escrows", {"buyer": "alice"}, key="one").status_code == 422
    assert tenant.platform.ask("POST", "/v1/escrows", CREATE, key="one").status_code == httpx.codes.CREATED


def test_two_processes_that_get_a_command_at_the_same_time_do_it_once(tenant: Tenant, second: Api) -> None:
    other = Caller(httpx.Client(base_url=second.address, timeout=60, trust_env=False), tenant.platform.key)
    for number in range(10):
        key = f"together-{number}"
        with ThreadPoolExecutor(6) as pool:
            callers = [tenant.platform, other] * 3
            answers = list(pool.map(lambda caller: caller.ask("POST", "/v1/escrows", CREATE, key=key), callers))  # noqa: B023
        assert {one.status_code for one in answers} == {httpx.codes.CREATED}
        assert len({one.content for one in answers}) == 1
        assert sum("Idempotent-Replayed" not in one.headers for one in answers) == 1
    assert count(tenant, "escrow") == 10


def test_two_processes_release_a_milestone_once(tenant: Tenant, second: Api) -> None:
    escrow = tenant.ready().submitted()
    path = f"/v1/milestones/{escrow['milestones'][0]['id']}/approve"
    other = Caller(httpx.Client(base_url=second.address, timeout=60, trust_env=False), tenant.alice.key, "buyer:alice")
    with ThreadPoolExecutor(8) as pool:
        same = [pool.submit(caller.ask, "POST", path, None, "approve") for caller in [tenant.alice, other] * 2]
        rivals = [pool.submit(caller.ask, "POST", path) for caller in [tenant.alice, other] * 2]
        answers, others = [one.result() for one in same], [one.result() for one in rivals]
    assert len({one.content for one in answers}) == 1
    won = [one for one in [answers[0], *others] if one.status_code == httpx.codes.OK]
    lost = [one.json()["code"] for one in [answers[0], *others] if one.status_code != httpx.codes.OK]
    assert len(won) == 1
    assert set(lost) == {"invalid_transition"}
    assert count(tenant, "settlement") == 1


def test_a_claim_whose_process_died_is_taken_over_with_the_same_ids(tenant: Tenant) -> None:
    first = tenant.platform.post("/v1/escrows", CREATE, key="died")
    with tenant.api.servers.owner() as connection:
        connection.execute(
            """UPDATE idempotency SET status = NULL, headers = NULL, body = NULL, lease_until = '-infinity'
               WHERE tenant_id = %s""",
            (tenant.id,),
        )
    again = tenant.platform.ask("POST", "/v1/escrows", CREATE, key="died")
    assert "Idempotent-Replayed" not in again.headers
    assert again.json() == first
    assert count(tenant, "escrow") == 1


def test_one_that_is_still_running_is_said_to_be(tenant: Tenant) -> None:
    tenant.platform.post("/v1/escrows", CREATE, key="slow")
    with tenant.api.servers.owner() as connection:
        connection.execute(
            "UPDATE idempotency SET status = NULL, lease_until = 'infinity' WHERE tenant_id = %s", (tenant.id,)
        )
    answer = tenant.platform.ask("POST", "/v1/escrows", CREATE, key="slow")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert answer.headers["Retry-After"]


def test_answers_are_kept_unreadable(tenant: Tenant) -> None:
    tenant.platform.post("/v1/escrows", CREATE | {"title": "Very secret redesign"}, key="one")
    with tenant.api.servers.owner() as connection:
        readable = "SELECT count(*) FROM idempotency WHERE position('secret redesign'::bytea IN body) > 0"
        assert one(connection, readable) == 0
        assert one(connection, "SELECT count(*) FROM idempotency WHERE tenant_id = %s", tenant.id) == 1


def test_a_stale_version_is_a_conflict_and_nothing_moves(tenant: Tenant) -> None:
    escrow = tenant.platform.ask("POST", "/v1/escrows", CREATE)
    assert escrow.headers["ETag"] == '"1"'
    path = f"/v1/escrows/{escrow.json()['id']}"
    amended = tenant.platform.ask("PUT", path, {"title": "Redesign"}, If_Match='"1"')
    assert amended.headers["ETag"] == '"2"'
    stale = tenant.platform.ask("PUT", path, {"title": "Again"}, If_Match='"1"')
    assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (409, "conflict", 2)
    assert tenant.platform.get(path)["title"] == "Redesign"
    for wrong in ("1", '"0"', '"x"', '"1", "2"'):
        answer = tenant.platform.ask("PUT", path, {"title": "Again"}, If_Match=wrong)
        assert answer.status_code == httpx.codes.BAD_REQUEST, wrong


def test_a_header_that_is_wrong_as_such_does_not_use_up_the_key(tenant: Tenant) -> None:
    escrow = tenant.platform.post("/v1/escrows", CREATE)
    path = f"/v1/escrows/{escrow['id']}"
    wrong = tenant.platform.ask("PUT", path, {"title": "Redesign"}, key="amend", If_Match="1")
    assert wrong.status_code == httpx.codes.BAD_REQUEST
    assert tenant.platform.put(path, {"title": "Redesign"}, key="amend", If_Match='"1"')["title"] == "Redesign"


def test_of_two_attempts_that_both_answer_the_first_answer_stays(api: Api, tenant: Tenant) -> None:
    """A process that stood still for longer than its lease finds that another one has answered."""
    engine = for_tenant(connect(api.servers.endpoints.api_database_url, 2), tenant.id)
    answers = Answers(engine, tenant.id, Keyring.parse(api.servers.endpoints.keys))
    slow = answers.claim("slow", "f", "/v1/escrows")
    assert isinstance(slow, Claim)
    assert answers.claim("slow", "f", "/v1/escrows") == "running"
    answers.release("slow")
    quick = answers.claim("slow", "f", "/v1/escrows")
    assert isinstance(quick, Claim)
    assert quick.claimed_at == slow.claimed_at
    first = Answer(201, {"etag": '"1"'}, b"first")
    assert answers.keep("slow", first) is first
    assert answers.keep("slow", Answer(201, {"etag": '"1"'}, b"second")) == first
    assert answers.claim("slow", "f", "/v1/escrows") == first
    assert answers.claim("slow", "other", "/v1/escrows") == "reused"
