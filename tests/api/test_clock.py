"""The test clock over HTTP: two weeks in a second. Source: http-contract.md, "Routes"; domain.md, section 9."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
import pytest

from tests.api.service import Caller, Tenant

ADVANCE = "/v1/test-clock/advance"


def test_two_weeks_on_every_deadline_that_came_due_has_been_handled(tenant: Tenant) -> None:
    escrow = tenant.ready().submitted()
    before = tenant.platform.get("/v1/test-clock")
    assert (before["offset"], before["escrows"]) == ("P0D", 1)
    moved = tenant.platform.post(ADVANCE, {"by": "P14D"})
    assert (moved["offset"], moved["escrows"]) == ("P14D", 1)
    between = datetime.fromisoformat(moved["now"]) - datetime.fromisoformat(before["now"])
    assert between.days == 14
    after = tenant.platform.get(f"/v1/escrows/{escrow['id']}")
    assert (after["milestones"][0]["status"] in {"approved", "paid"}, after["released"]) == (True, 150000)


def test_a_repeated_request_moves_the_clock_once(tenant: Tenant) -> None:
    first = tenant.platform.ask("POST", ADVANCE, {"by": "P1D"}, key="a-day")
    assert tenant.platform.ask("POST", ADVANCE, {"by": "P1D"}, key="a-day").content == first.content
    assert tenant.platform.get("/v1/test-clock")["offset"] == "P1D"
    assert tenant.platform.post(ADVANCE, {"by": "PT1H"})["offset"] == "P1DT1H"


def test_a_request_that_an_api_process_died_over_goes_on_to_where_it_was_going(tenant: Tenant) -> None:
    tenant.platform.post(ADVANCE, {"by": "P1D"}, key="a-day")
    with tenant.api.servers.owner() as connection:
        connection.execute(
            """UPDATE idempotency SET status = NULL, headers = NULL, body = NULL, lease_until = '-infinity'
               WHERE tenant_id = %s AND key = 'a-day'""",
            (tenant.id,),
        )
    again = tenant.platform.ask("POST", ADVANCE, {"by": "P1D"}, key="a-day")
    assert (again.json()["offset"], "Idempotent-Replayed" in again.headers) == ("P1D", False)


def test_the_same_request_many_times_at_once_moves_the_clock_once(tenant: Tenant) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(tenant.platform.ask, "POST", ADVANCE, {"by": "P1D"}, key="at-once") for _ in range(8)]
        answers = {one.result().content for one in asked}
    assert len(answers) == 1
    assert tenant.platform.get("/v1/test-clock")["offset"] == "P1D"


def test_different_requests_at_once_add_up_and_each_counts_once(tenant: Tenant) -> None:
    keys = [f"day-{number}" for number in range(4)] * 2
    with ThreadPoolExecutor(len(keys)) as pool:
        asked = [pool.submit(tenant.platform.ask, "POST", ADVANCE, {"by": "P1D"}, key=key) for key in keys]
        assert {one.result().status_code for one in asked} == {200}
    assert tenant.platform.get("/v1/test-clock")["offset"] == "P4D"


def test_an_attempt_that_moved_the_clock_and_died_is_not_repeated_by_the_next(tenant: Tenant) -> None:
    """Where to is remembered in the transaction that moves it: others moved on since, and it is still one day."""
    tenant.platform.post(ADVANCE, {"by": "P1D"}, key="a-day")
    tenant.platform.post(ADVANCE, {"by": "P2D"})
    with tenant.api.servers.owner() as connection:
        memo = connection.execute(
            """UPDATE idempotency SET status = NULL, headers = NULL, body = NULL, lease_until = '-infinity'
               WHERE tenant_id = %s AND key = 'a-day' RETURNING memo""",
            (tenant.id,),
        ).fetchone()
    assert memo == ({"to": 86400},)
    assert tenant.platform.post(ADVANCE, {"by": "P1D"}, key="a-day")["offset"] == "P3D"


def test_live_money_keeps_real_time(tenant: Tenant) -> None:
    live = Caller(tenant.http, tenant.made["operator_live_key"])
    for method, path in (("POST", ADVANCE), ("GET", "/v1/test-clock")):
        answer = live.ask(method, path, {"by": "P1D"} if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert tenant.alice.ask("POST", ADVANCE, {"by": "P1D"}).status_code == httpx.codes.FORBIDDEN


@pytest.mark.parametrize("by", ["-P1D", "PT0S", "PT0.5S", "P1000000D", "fourteen days", 14, None, "P999999999D"])
def test_a_clock_goes_forward_by_whole_seconds(tenant: Tenant, by: object) -> None:
    assert tenant.platform.ask("POST", ADVANCE, {"by": by}).status_code == 422
    assert tenant.platform.get("/v1/test-clock")["offset"] == "P0D"


def test_a_clock_does_not_go_beyond_a_hundred_years(tenant: Tenant) -> None:
    assert tenant.platform.post(ADVANCE, {"by": "P36500D"})["offset"] == "P36500D"
    answer = tenant.platform.ask("POST", ADVANCE, {"by": "P1D"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_command")
