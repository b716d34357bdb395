"""What the API takes in: how much, how often, in which form; and what it says of it.

Source: http-contract.md, "Habits".
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from models import durations
from tests.api.service import Api, Tenant
from tests.api.service import api as running_api

if TYPE_CHECKING:
    from tests.servers import Servers

CREATE = {"buyer": "alice", "seller": "bob", "amount": 500000, "currency": "EUR", "title": "Website redesign"}


def post(tenant: Tenant, content: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    """Post bytes as they are."""
    sent = {
        "Authorization": f"Bearer {tenant.platform.key}",
        "Idempotency-Key": "raw",
        "Content-Type": "application/json",
    }
    return tenant.http.post("/v1/escrows", content=content, headers=sent | headers)


def test_a_body_that_is_too_large_is_refused_however_it_is_sent(tenant: Tenant) -> None:
    large = json.dumps(CREATE | {"title": "x" * 262144}).encode()
    assert post(tenant, large).status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE

    def parts() -> Iterator[bytes]:  # without a length
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    answer = post(tenant, parts())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"amount": NaN}',
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"title": "\\ud800"}',
    ],
)
def test_what_is_no_escrow_is_refused_as_such(tenant: Tenant, body: bytes) -> None:
    answer = post(tenant, body)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", "500000"), ("amount", 500000.0), ("amount", 0), ("amount", -1), ("amount", 10**30), ("amount", True),
        ("currency", "XXX"), ("currency", "eur"), ("buyer", "alice@example.com"), ("buyer", ""), ("title", ""),
        ("title", "x\x00y"), ("title", "x" * 201), ("milestones", [{"title": "a"}]),
        ("milestones", [{"title": "a", "amount": 1}] * 21), ("event_date", "2026-02-30"), ("state", "completed"),
        ("metadata", {"a": {"b": 1}}), ("release", {"review_window": "P0D"}), ("tenant", "ten_1"), ("held", 5),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(tenant: Tenant, field: str, value: object) -> None:
    answer = post(tenant, json.dumps(CREATE | {field: value}).encode())
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
    assert field in answer.json()["detail"]
    assert answer.json()["instance"] == "/v1/escrows"


def test_every_answer_has_the_requests_id_and_so_has_the_log(api: Api, tenant: Tenant) -> None:
    answer = tenant.platform.ask("GET", "/v1/escrows", X_Request_Id="trace-4711")
    assert answer.headers["X-Request-Id"] == "trace-4711"
    refused = tenant.platform.ask("GET", "/v1/escrows/nonsense", X_Request_Id="trace-4712")
    assert refused.json()["request_id"] == "trace-4712"
    forged = tenant.platform.ask("GET", "/v1/escrows", X_Request_Id="a b\tc")
    assert forged.headers["X-Request-Id"].startswith("req_")
    log = api.log.read_text()
    assert "trace-4711" in log
    assert tenant.platform.key not in log


def test_a_path_with_a_slash_too_many_leads_nowhere(tenant: Tenant) -> None:
    """A redirection would name the host that the request claims."""
    for path in ("/v1/escrows/", "/v1/parties/bob/", "/healthz/"):
        answer = tenant.platform.ask("GET", path, Host="elsewhere.example")
        assert (answer.status_code, answer.json()["code"], "Location" in answer.headers) == (404, "not_found", False)


def test_what_a_stranger_says_of_its_address_is_not_believed(servers: "Servers", api: Api, tenant: Tenant) -> None:
    """Nothing is believed of anybody but the proxies that a setting names."""
    for said in ("not-an-ip", "203.0.113.9"):
        made = tenant.platform.ask("POST", "/v1/escrows", CREATE, X_Forwarded_For=said, X_Forwarded_Proto="gopher")
        assert made.status_code == httpx.codes.CREATED, made.text
    assert addresses(servers, tenant) == {"127.0.0.1"}


def test_a_proxy_that_is_named_tells_who_asks(
    servers: "Servers", api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("behind") / "api.log"
    with running_api(servers, log, HOLDFAST_FORWARDED_ALLOW_IPS="127.0.0.1,10.1.0.0/16") as behind:
        tenant = behind.tenant()
        for said in ("203.0.113.9, 10.1.2.3", "not-an-ip"):
            made = tenant.platform.ask("POST", "/v1/escrows", CREATE, X_Forwarded_For=said)
            assert made.status_code == httpx.codes.CREATED, made.text
        assert addresses(servers, tenant) == {"203.0.113.9", None}


def addresses(servers: "Servers", tenant: Tenant) -> set[str | None]:
    """Where, by the books, the tenant's commands came from."""
    with servers.owner() as connection:
        found = connection.execute("SELECT host(ip) FROM audit WHERE tenant_id = %s", (tenant.id,)).fetchall()
    return {row[0] for row in found}


def test_a_method_that_a_path_does_not_take_and_a_path_that_is_none(tenant: Tenant) -> None:
    answer = tenant.http.request("PATCH", "/v1/escrows")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    answer = tenant.http.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "state=nonsense", "starting_after=%00"])
def test_a_query_that_is_wrong_is_refused(tenant: Tenant, query: str) -> None:
    answer = tenant.platform.ask("GET", f"/v1/escrows?{query}")
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text


def test_a_query_parameter_that_there_is_not_is_refused_instead_of_everything_answered(tenant: Tenant) -> None:
    for path, there_are in (
        ("/v1/escrows?limit=5&buyr=zzz", "there are buyer, limit, seller, starting_after, state"),
        ("/v1/tenant?buyr=", "this path takes none"),
    ):
        answer = tenant.platform.ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
        assert answer.json()["detail"] == f"there is no query parameter 'buyr': {there_are}"
        assert answer.json()["errors"][0]["at"] == "buyr"
    assert tenant.platform.ask("GET", "/v1/escrows?=zzz").status_code == 422


def test_a_refused_query_parameter_does_not_use_up_the_idempotency_key(tenant: Tenant) -> None:
    assert tenant.platform.ask("POST", "/v1/escrows?dry_run=1", CREATE, key="once").status_code == 422
    assert tenant.platform.ask("POST", "/v1/escrows", CREATE, key="once").status_code == 201


@pytest.mark.parametrize("window", ["14 days", "14:00:00", "P1M", "P1Y", "P1Y1D", "P1.5D", "PT0.5S", "-P1D", "P", 14])
def test_a_duration_is_iso_8601_of_a_fixed_length_or_refused(tenant: Tenant, window: object) -> None:
    answers = [
        tenant.platform.ask("POST", "/v1/escrows", CREATE | {"release": {"review_window": window}}),
        tenant.platform.ask("POST", "/v1/policies/dispute", {"response_window": window}),
        tenant.platform.ask("POST", "/v1/policies/release", {"payout": {"trigger": "time", "clearance": window}}),
        tenant.platform.ask("POST", "/v1/policies/release", {"reminders": [window]}),
        tenant.platform.ask("POST", "/v1/test-clock/advance", {"by": window}),
        tenant.operator.ask("POST", "/v1/api-keys/key_00000000000000000000000000/rotate", {"grace": window}),
        tenant.platform.ask(
            "POST", "/v1/webhook-endpoints/whk_00000000000000000000000000/rotate-secret", {"overlap": window}
        ),
    ]
    assert [(one.status_code, durations.EXPECTED in one.json()["detail"]) for one in answers] == [(422, True)] * 7


def test_durations_are_answered_in_days_and_time_however_they_were_sent(tenant: Tenant) -> None:
    for sent, answered in (("P366D", "P366D"), ("P2W", "P14D"), ("PT36H", "P1DT12H"), ("PT14H", "PT14H")):
        escrow = tenant.create(release={"review_window": sent})
        assert escrow["release"]["review_window"] == answered


@pytest.mark.parametrize("validator", ["1", '"x"'])
def test_a_version_that_cannot_be_compared_is_refused(tenant: Tenant, validator: str) -> None:
    escrow = tenant.create()
    path, change = f"/v1/escrows/{escrow['id']}", {"title": "Two websites"}
    answer = tenant.platform.ask("PUT", path, change, If_Match=validator)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert tenant.platform.ask("PUT", path, change, If_Match="*").status_code == 200
    assert tenant.platform.ask("PUT", path, {"title": "Three"}, If_Match='W/"2"').status_code == 200  # behind a proxy


def test_parts_of_an_escrow_say_when_they_were_made(tenant: Tenant) -> None:
    tenant.platform.post("/v1/test-clock/advance", {"by": "P30D"})
    before = datetime.fromisoformat(tenant.platform.get("/v1/test-clock")["now"])
    escrow = tenant.ready().submitted()
    tenant.alice.post(
        f"/v1/escrows/{escrow['id']}/disputes", {"reason": "quality", "description": "The colours are wrong."}
    )
    found = tenant.platform.get(f"/v1/escrows/{escrow['id']}")
    after = datetime.fromisoformat(tenant.platform.get("/v1/test-clock")["now"])
    parts = [*found["milestones"], *found["disputes"]]
    assert len(parts) == 4
    for part in parts:
        assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(part["created_at"]) <= after


def test_a_party_under_an_impossible_id_is_not_made_and_that_is_not_called_not_found(tenant: Tenant) -> None:
    answer = tenant.platform.ask("PUT", "/v1/parties/bob@example.com", {"name": "Bob"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert tenant.platform.ask("GET", "/v1/parties/bob@example.com").status_code == 404


def test_what_a_form_expects_is_told_in_words(tenant: Tenant) -> None:
    answer = tenant.platform.ask("PUT", "/v1/parties/bob", {"email": "bob", "payout_destination": "a b"})
    assert answer.json()["detail"] == (
        "email: expected an address such as bob@example.com; "
        "payout_destination: expected 1 to 100 letters, digits and underscores, such as acct_bob"
    )


def test_lists_go_on_where_the_page_before_ended(tenant: Tenant) -> None:
    made = [tenant.create(title=f"Number {number}")["id"] for number in range(5)]
    first = tenant.platform.get("/v1/escrows?limit=2")
    second = tenant.platform.get(f"/v1/escrows?limit=2&starting_after={first['data'][-1]['id']}")
    last = tenant.platform.get(f"/v1/escrows?limit=2&starting_after={second['data'][-1]['id']}")
    seen = [one["id"] for page in (first, second, last) for one in page["data"]]
    assert sorted(seen) == sorted(made)
    assert [page["has_more"] for page in (first, second, last)] == [True, True, False]


def test_too_many_requests_are_told_to_wait(
    servers: "Servers", api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("slow") / "api.log"
    with running_api(servers, log, HOLDFAST_API_REQUESTS_PER_SECOND="2") as slow:
        tenant, other = slow.tenant(), slow.tenant()
        answers = [tenant.platform.ask("GET", "/v1/escrows") for _ in range(30)]
        refused = [one for one in answers if one.status_code == httpx.codes.TOO_MANY_REQUESTS]
        assert 0 < len(refused) < 30
        assert refused[0].headers["Retry-After"]
        assert refused[0].json()["code"] == "rate_limited"
        assert other.platform.ask("GET", "/v1/escrows").status_code == httpx.codes.OK


def test_the_reference_is_browsed_without_any_other_server(tenant: Tenant) -> None:
    page = tenant.http.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for one in loaded:
        assert tenant.http.get(one).status_code == httpx.codes.OK, one
    assert "://" not in page
