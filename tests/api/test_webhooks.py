"""Webhooks over the API alone, as a marketplace uses them: register, receive, verify, rotate, redeliver, delete."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.service import Api, Tenant
from tests.api.service import api as running_api
from tests.receiver import Receiver, receiving
from tests.servers import Servers, eventually


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of the test's own."""
    with receiving() as open_receiver:
        yield open_receiver


def register(tenant: Tenant, url: str, *types: str) -> Any:
    """An endpoint, with its secret."""
    return tenant.platform.post("/v1/webhook-endpoints", {"url": url, "events": types or ["*"]})


def test_a_marketplace_hears_of_its_deal_verifies_it_and_asks_for_it_again(tenant: Tenant, receiver: Receiver) -> None:
    """From registration to redelivery, by nothing but the API."""
    made = register(tenant, receiver.url, "escrow.*")
    escrow = tenant.ready().funded()
    eventually(lambda: len(receiver.arrived) == 2)
    events = [one.verified(made["secret"]) for one in receiver.arrived]
    assert [one["type"] for one in events] == ["escrow.created", "escrow.funded"]
    assert tenant.platform.get(f"/v1/events?escrow={escrow['id']}")["data"] == events[::-1]
    assert tenant.platform.get("/v1/events?type=escrow.funded&limit=1")["data"] == events[1:]
    assert tenant.platform.get(f"/v1/events?starting_after={events[1]['id']}")["data"] == events[:1]
    assert tenant.platform.get(f"/v1/events/{events[0]['id']}") == events[0]

    path = f"/v1/webhook-endpoints/{made['id']}"
    rotated = tenant.platform.post(f"{path}/rotate-secret", {"overlap": "PT1H"})
    again = tenant.platform.post(f"/v1/events/{events[1]['id']}/redeliver")
    assert [one["endpoint"] for one in again["data"]] == [made["id"]]
    eventually(lambda: len(receiver.arrived) == 3)
    for secret in (made["secret"], rotated["secret"]):
        assert receiver.arrived[2].verified(secret) == events[1]

    def all_delivered() -> bool:
        found = tenant.platform.get(f"{path}/deliveries")["data"]
        return [(one["status"], one["last_status"]) for one in found] == [("delivered", 204)] * 3

    eventually(all_delivered)
    first = tenant.platform.get(f"{path}/deliveries?limit=1")
    assert first["has_more"]
    rest = tenant.platform.get(f"{path}/deliveries?starting_after={first['data'][0]['id']}")
    assert len(rest["data"]) == 2
    assert not rest["has_more"]


def test_an_endpoint_is_changed_listed_enabled_and_deleted(tenant: Tenant, receiver: Receiver) -> None:
    """Its secret is shown once; one that is gone is disabled, seen as such, and enabled again."""
    made = register(tenant, receiver.url)
    path = f"/v1/webhook-endpoints/{made['id']}"
    seen = {name: value for name, value in made.items() if name != "secret"}
    assert tenant.platform.get(path) == seen
    assert tenant.platform.get("/v1/webhook-endpoints")["data"] == [seen]
    change = {"events": ["escrow.created"], "description": "the shop", "url": f"{receiver.url}/new"}
    changed = tenant.platform.done(tenant.platform.ask("PATCH", path, change))
    assert changed == seen | change
    receiver.answer = (410, {}, b"")
    tenant.create()
    eventually(lambda: tenant.platform.get(path)["status"] == "disabled")
    assert tenant.platform.get(path)["disabled_because"] == "gone"
    told = eventually(lambda: tenant.platform.get("/v1/events?type=webhook_endpoint.disabled")["data"])
    assert told[0]["data"] == {"endpoint": made["id"], "code": "gone"}
    event = tenant.platform.get("/v1/events?type=escrow.created")["data"][0]["id"]
    refused = tenant.platform.ask("POST", f"/v1/events/{event}/redeliver", {"endpoint": made["id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert tenant.platform.post(f"{path}/enable")["status"] == "enabled"
    assert tenant.platform.ask("DELETE", path).status_code == httpx.codes.NO_CONTENT
    assert tenant.platform.ask("GET", path).status_code == httpx.codes.NOT_FOUND
    assert tenant.platform.get("/v1/webhook-endpoints")["data"] == []


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/", "https://169.254.169.254/latest/meta-data", "https://[::ffff:127.0.0.1]/",
        "https://user:pw@hooks.example.com/", "https://nothing.invalid/", "ftp://hooks.example.com/", "http://10.0.0.1/",
        "https://[fe80::1]/", "https://100.64.0.1/", "https://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
def test_edge_45_at_registration_an_address_that_is_not_public_is_refused(
    tenant: Tenant, receiver: Receiver, url: str
) -> None:
    """When it is registered and when it is changed; the answer says what is allowed, and nothing is kept."""
    refused = tenant.platform.ask("POST", "/v1/webhook-endpoints", {"url": url})
    assert (refused.status_code, refused.json()["code"]) == (422, "url_not_allowed")
    assert refused.json()["detail"].startswith("url: ")
    made = register(tenant, receiver.url)
    changed = tenant.platform.ask("PATCH", f"/v1/webhook-endpoints/{made['id']}", {"url": url})
    assert changed.status_code == 422
    assert [one["url"] for one in tenant.platform.get("/v1/webhook-endpoints")["data"]] == [receiver.url]


def test_edge_45_without_the_setting_this_machine_is_refused_as_well(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Only development has the setting; http is refused altogether then."""
    log = tmp_path_factory.mktemp("strict") / "api.log"
    with running_api(servers, log, HOLDFAST_WEBHOOKS_ALLOW_LOOPBACK="false") as strict:
        tenant = strict.tenant()
        for url in (
            "https://127.0.0.1/",
            "https://localhost/",
            "http://localhost/",
            "https://2130706433/",
            "https://0x7f.1/",
        ):
            refused = tenant.platform.ask("POST", "/v1/webhook-endpoints", {"url": url})
            assert (refused.status_code, refused.json()["code"]) == (422, "url_not_allowed"), url


def test_the_same_key_again_answers_the_same_secret_and_makes_one_endpoint(tenant: Tenant, receiver: Receiver) -> None:
    """A registration or rotation whose answer was lost is asked for again."""
    said = {"url": receiver.url, "events": ["*"]}
    first, second = (tenant.platform.post("/v1/webhook-endpoints", said, key="register-1") for _ in range(2))
    assert first == second
    path = f"/v1/webhook-endpoints/{first['id']}/rotate-secret"
    assert tenant.platform.post(path, key="rotate-1") == tenant.platform.post(path, key="rotate-1")
    assert len(tenant.platform.get("/v1/webhook-endpoints")["data"]) == 1


def test_webhooks_and_the_feed_are_for_the_platform_alone(api: Api, tenant: Tenant, receiver: Receiver) -> None:
    """A buyer gets 403; another tenant's endpoint and event are not there."""
    made = register(tenant, receiver.url)
    tenant.create()
    event = eventually(lambda: tenant.platform.get("/v1/events")["data"])[0]["id"]
    named = f"/v1/webhook-endpoints/{made['id']}"
    asked = [
        ("GET", named), ("PATCH", named), ("POST", f"{named}/enable"), ("POST", f"{named}/rotate-secret"),
        ("GET", f"{named}/deliveries"), ("GET", f"/v1/events/{event}"), ("POST", f"/v1/events/{event}/redeliver"),
        ("DELETE", named),
    ]  # fmt: skip
    other = api.tenant()
    for method, path in asked:
        body: dict[str, str] | None = {} if method == "PATCH" else None
        assert tenant.alice.ask(method, path, body).status_code == httpx.codes.FORBIDDEN
        assert other.operator.ask(method, path, body).status_code == httpx.codes.NOT_FOUND
    for path in ("/v1/events", "/v1/webhook-endpoints"):
        assert tenant.bob.ask("GET", path).status_code == httpx.codes.FORBIDDEN
        assert other.platform.get(path)["data"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ({"url": ""}, 422), ({"url": "https://hooks.example.com/" + "a" * 3000}, 422),
        ({"url": "http://127.0.0.1/", "events": []}, 422),
        ({"url": "http://127.0.0.1/", "events": ["payout.payed"]}, 422),
        ({"url": "http://127.0.0.1/", "events": "*"}, 422), ({"url": "http://127.0.0.1/", "secret": "mine"}, 422),
        ({"url": "http://127.0.0.1/", "description": "a" * 201}, 422),
        ({"url": "http://127.0.0.1/", "description": "a\x00b"}, 422), ({"url": "http://127.0.0.1/\x00"}, 422),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_endpoint_is_said(tenant: Tenant, body: dict[str, Any], status: int) -> None:
    refused = tenant.platform.ask("POST", "/v1/webhook-endpoints", body)
    assert refused.status_code == status, refused.text
    assert refused.json()["detail"]


@pytest.mark.parametrize("query", ["starting_after=%00", "starting_after=evt_x", "type=%00", "escrow=%00", "limit=0"])
def test_an_odd_question_about_events_is_answered_with_a_problem(tenant: Tenant, query: str) -> None:
    answer = tenant.platform.ask("GET", f"/v1/events?{query}")
    assert answer.status_code in {404, 422}, answer.text
    made = register(tenant, "http://127.0.0.1:9/")
    listed = tenant.platform.ask("GET", f"/v1/webhook-endpoints/{made['id']}/deliveries?{query}")
    assert listed.status_code < 500, listed.text
