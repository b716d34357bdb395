"""The provider's webhooks over HTTP: verified, stored, then answered.

Source: http-contract.md; edge cases 14 and 15.
"""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from models.charges import charge_of
from models.commands import Fund
from models.states import ChargebackStatus
from starter.sandbox.webhooks import sign
from tests.api.service import Api
from tests.builders import order
from tests.gateway.sandbox_process import API_KEY, SandboxProcess
from tests.market import Market
from tests.provider import an_event, body_of, listening, row
from tests.servers import eventually, soon
from tests.workers import own_namespace, temporal
from tests.workflow.scene import Scene

if TYPE_CHECKING:
    from tests.servers import Servers

HOOK = "/v1/gateways/stripe/webhook"


def post(api: Api, body: bytes, signature: str | None, path: str = HOOK) -> httpx.Response:
    """Post a webhook, as the provider does: without a key of ours."""
    headers = {} if signature is None else {"Stripe-Signature": signature}
    return httpx.post(f"{api.address}{path}", content=body, headers=headers, trust_env=False, timeout=30)


def signed(api: Api, body: str, age: int = 0) -> str:
    """The provider's signature, so many seconds old."""
    return sign(body, api.servers.endpoints.stripe_webhook_secret, int(time.time()) - age)


def stored(api: Api, event: dict[str, Any]) -> int:
    """How many rows there are of an event."""
    with api.servers.app() as connection:
        return len(connection.execute("SELECT FROM gateway_event WHERE id = %s", (event["id"],)).fetchall())


def test_a_webhook_is_stored_when_it_is_answered(api: Api) -> None:
    """200 with a receipt; the row is there. The provider needs no key of a tenant."""
    event = an_event("charge.failed", id="ch_1", object="charge", metadata={"holdfast_key": "chg_x"})
    body = body_of(event)
    answer = post(api, body.encode(), signed(api, body))
    assert (answer.status_code, answer.json()) == (200, {"received": True, "duplicate": False})
    kept = row(api.servers.engine, event)
    assert (kept["status"], kept["reference"], kept["key"]) == ("pending", "ch_1", "chg_x")


def test_edge_14_a_hundred_deliveries_of_one_webhook_at_the_same_time_store_it_once(api: Api) -> None:
    """All are answered 200, one says that it was new."""
    event = an_event("charge.failed", id="ch_1", object="charge")
    body = body_of(event)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(api, body.encode(), signed(api, body)), range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json()["duplicate"] for answer in answers].count(False) == 1
    assert stored(api, event) == 1


@pytest.mark.parametrize("damage", ["one byte", "aged", "other secret", "no signature", "redated"])
def test_edge_15_a_forged_or_stale_webhook_is_400_recorded_and_nothing_else(api: Api, damage: str) -> None:
    """A problem for programs; a line in the log with a digest of the body; no row."""
    event = an_event("charge.failed", id="ch_1", object="charge")
    body = body_of(event)
    signature: str | None = signed(api, body, age=301 if damage in {"aged", "redated"} else 0)
    match damage:
        case "one byte":
            body = body.replace("ch_1", "ch_2")
        case "other secret":
            signature = sign(body, "whsec_mallory", int(time.time()))
        case "no signature":
            signature = None
        case "redated":
            signature = signed(api, body, age=301).replace(f"t={int(time.time()) - 301}", f"t={int(time.time())}")
    answer = post(api, body.encode(), signature)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == "invalid_signature"
    assert stored(api, event) == 0
    digest = hashlib.sha256(body.encode()).hexdigest()[:16]
    lines = [line for line in api.log.read_text().splitlines() if digest in line]
    assert len(lines) == 1
    assert "webhook refused" in lines[0]


def test_an_event_that_calls_itself_a_round_s_is_refused(api: Api) -> None:
    """Signed or not: one in advance would keep reconciliation from looking into the same thing."""
    event = an_event("transfer.reversed", id="tr_1", object="transfer") | {"id": "reconciliation:txn_1:20991231"}
    body = body_of(event)
    answer = post(api, body.encode(), signed(api, body))
    assert (answer.status_code, answer.json()["detail"]) == (
        400,
        "no event of Stripe's has an id that begins with reconciliation:",
    )
    assert stored(api, event) == 0


def test_a_webhook_is_503_and_comes_again_while_the_database_is_away(api: Api) -> None:
    """Not stored, not answered 2xx: the provider sends it again, and then it is stored."""
    event = an_event("charge.failed", id="ch_1", object="charge")
    body = body_of(event)
    with closing(api.servers.superuser("postgres")) as connection:
        connection.execute("ALTER ROLE holdfast_api NOLOGIN")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'holdfast_api'")
        try:
            assert post(api, body.encode(), signed(api, body)).status_code == 503
        finally:
            connection.execute("ALTER ROLE holdfast_api LOGIN")
    assert stored(api, event) == 0
    eventually(lambda: post(api, body.encode(), signed(api, body)).is_success)
    assert stored(api, event) == 1


def test_only_the_provider_that_there_is_can_tell_something(api: Api) -> None:
    """Another name is 404, whatever it bears; a body beyond the limit is 413."""
    body = body_of(an_event("charge.failed", id="ch_1", object="charge"))
    assert post(api, body.encode(), signed(api, body), "/v1/gateways/paypal/webhook").status_code == 404
    large = json.dumps(an_event("charge.failed", id="ch_1", object="charge", padding="x" * 262144))
    assert post(api, large.encode(), signed(api, large)).status_code == 413


@pytest.mark.anyio
async def test_edge_17_from_the_bank_to_the_books(api: Api, servers: "Servers", tmp_path: Path) -> None:
    """A provider that posts everything three times and in no order, the running API, real workers: one chargeback."""
    secret = servers.endpoints.stripe_webhook_secret
    provider = SandboxProcess(tmp_path, "--webhook-url", f"{api.address}{HOOK}", "--webhook-secret", secret)
    apart = await own_namespace(servers, "from-the-bank-to-the-books")
    endpoints = replace(apart.endpoints, stripe_api_base=provider.url, stripe_api_key=API_KEY)
    apart = replace(apart, endpoints=endpoints)
    scene = Scene.of(apart, Market(servers.engine, purse=0), await temporal(endpoints))
    try:
        async with listening(scene):
            escrow = await scene.create()
            fund = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
            await scene.sender.send(fund)
            provider.posting(held=True)
            dispute = provider.happen("contest", key=charge_of(fund), amount=200000)
            provider.happen("decide", reference=dispute["id"], status="lost")
            provider.posting(times=3, shuffled=True)

            async def all_settled() -> bool:
                with servers.app() as connection:
                    told = [one["id"] for one in provider.events()]
                    found = connection.execute(
                        "SELECT status FROM gateway_event WHERE id = ANY (%s) AND status <> 'pending'", (told,)
                    ).fetchall()
                return len(told) == len(found) == 3

            await soon(all_settled, within=30)
            after = scene.market.escrow(escrow)
            assert [(one.reference, one.status) for one in after.chargebacks] == [
                (dispute["id"], ChargebackStatus.LOST)
            ]
            assert scene.market.balance("gateway_cash", "stripe") == 300000
            available = provider.get("/v1/balance").json()["available"]
            assert [(one["currency"], one["amount"]) for one in available] == [("eur", 300000)]
    finally:
        provider.kill()
