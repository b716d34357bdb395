"""Webhooks with every kind of signature and, worse, with the right one: refused, or stored and then worth nothing.

Source: docs.stripe.com/webhooks; edge_cases.md, 14 and 15.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import httpx
import pytest
from hypothesis import strategies as st

from starter.api.stripe_events import UnverifiedError, verified
from starter.sandbox.webhooks import sign
from tests.api.service import Api
from tests.hostile.corpus_files import each, text_of
from tests.hostile.making_up import MINUTES, beyond
from tests.market import Market
from tests.provider import an_event, body_of, judged, row, tell
from tests.servers import Servers

HOOK: Final = "/v1/gateways/stripe/webhook"
MEMBERS: Final = ("id", "type", "created", "object", "data", "metadata", "holdfast_key", "amount", "currency", "status")


@pytest.fixture(autouse=True, scope="module")
def serves(api: Api) -> Iterator[None]:
    """The process is the same afterwards, and has logged no mistake of its own."""
    yield
    assert api.process.poll() is None
    assert "request failed" not in api.log.read_text(errors="replace")


def post(api: Api, body: bytes, signature: bytes | None) -> httpx.Response:
    """Post a webhook."""
    headers = {} if signature is None else {b"Stripe-Signature": signature}
    return httpx.post(f"{api.address}{HOOK}", content=body, headers=headers, trust_env=False, timeout=30)


def right(api: Api, body: str, at: int | None = None) -> str:
    """The provider's signature."""
    return sign(body, api.servers.endpoints.stripe_webhook_secret, at or int(time.time()))


def forged(case: dict[str, Any]) -> str:
    """The body of an entry of the corpus."""
    if "text" in case:
        return text_of(case, "text")
    event = an_event("charge.failed", **{"id": "ch_1", "object": "charge"} | case.get("about", {}))
    event |= case.get("with", {})
    if long := case.get("long"):
        event[long] += "a" * 300
    return json.dumps(event).replace("Infinity", "1e400")


@each("webhooks")
def test_what_is_signed_and_no_event_is_refused(api: Api, case: dict[str, Any]) -> None:
    """Whoever has the secret cannot make the API fail, nor store what is no event."""
    body = forged(case)
    answer = post(api, body.encode(), right(api, body).encode())
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature"), answer.text
    secret = api.servers.endpoints.stripe_webhook_secret
    with pytest.raises(UnverifiedError):
        verified(body.encode(), right(api, body), secret)


ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("evt_1"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=12,
)


@pytest.mark.timeout(120 + 60 * MINUTES)
def test_an_event_of_any_shape_is_read_or_not_believed() -> None:
    """Made up from the members that an event has; nothing else may come of one."""

    def try_one(said: tuple[dict[str, Any], Any]) -> None:
        body = json.dumps(an_event("charge.failed", id="ch_1") | said[0] | {"data": {"object": said[1]}})
        with suppress(UnverifiedError):
            event = verified(body.encode(), sign(body, "whsec_x", int(time.time())), "whsec_x")
            assert json.dumps(event.details, allow_nan=False)
            assert len(event.id) <= 200

    beyond(st.tuples(st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=3), ANYTHING), try_one, 200)


SIGNATURES: Final = {
    "nothing": "", "words": "hello", "only a moment": "t={now}", "only a signature": "v1={sig}",
    "a moment that is none": "t=now,v1={sig}", "a moment beyond all": "t=" + "9" * 400 + ",v1={sig}",
    "a negative moment": "t=-{now},v1={sig}", "another version": "t={now},v0={sig}",
    "no text": "t={now},v1=é", "signs": "=,=,=,,,", "a thousand that are wrong": "t={now}" + ",v1=0" * 1000,
    "half of it": "t={now},v1={half}", "in capitals": "t={now},v1={upper}",
}  # fmt: skip


@pytest.mark.parametrize("form", SIGNATURES.values(), ids=SIGNATURES)
def test_a_signature_of_another_form_is_refused(api: Api, form: str) -> None:
    """And nothing is stored."""
    body = body_of(an_event("charge.failed", id="ch_1", object="charge"))
    now = int(time.time())
    signature = right(api, body, now).rpartition("=")[2]
    said = form.format(now=now, sig=signature, half=signature[:32], upper=signature.upper())
    answer = post(api, body.encode(), said.encode("latin-1"))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_signature")
    assert "five minutes" in answer.json()["detail"]


def test_of_several_signatures_one_that_is_right_is_enough(api: Api) -> None:
    """While a secret is rolled the provider signs with both."""
    event = an_event("charge.failed", id="ch_1", object="charge")
    body = body_of(event)
    moment, _, signature = right(api, body).partition(",")
    answer = post(api, body.encode(), f"{moment},v1={'0' * 64},v0=x,{signature}".encode())
    assert answer.json() == {"received": True, "duplicate": False}


def test_the_same_event_with_another_body_changes_nothing_that_was_stored(api: Api) -> None:
    """The first that came counts: a second is a duplicate, whatever it says."""
    event = an_event("charge.failed", id="ch_1", object="charge", amount=1)
    other = an_event("charge.dispute.created", id="du_2", object="dispute", amount=10**9) | {"id": event["id"]}
    answers = [post(api, body_of(one).encode(), right(api, body_of(one)).encode()).json() for one in (event, other)]
    assert [one["duplicate"] for one in answers] == [False, True]
    kept = row(api.servers.engine, event)
    assert (kept["type"], kept["reference"], kept["details"]) == ("charge.failed", "ch_1", {"amount": 1})


def test_a_body_beyond_the_limit_is_too_large_whatever_is_signed(api: Api) -> None:
    """Before anything of it is read."""
    body = " " * 262_145
    answer = post(api, body.encode(), right(api, body).encode())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


FOREIGN: Final = {
    "a type that nobody knows": ("holdfast.give_me_money", {"id": "ch_1", "object": "charge"}),
    "another account's charge": ("charge.failed", {"id": "ch_of_somebody", "object": "charge"}),
    "a dispute that the provider does not know": ("charge.dispute.created", {"id": "du_never", "object": "dispute"}),
    "a dispute of less than nothing": ("charge.dispute.created", {"id": "du_1", "object": "dispute", "amount": -5}),
    "a payout of a foreign kind": ("transfer.reversed", {"id": "ch_1", "object": "transfer"}),
    "an id of ours of another kind": ("charge.failed", {"id": "ch_1", "object": "charge", "metadata": {
        "holdfast_key": "esc_01jd3v6k9q4m8n2p5r7s0t1w3x"}}),
    "an id that is a path": ("charge.dispute.created", {"id": "../../v1/balance", "object": "dispute"}),
    "an id that is a query": ("charge.dispute.created", {"id": "du_1?expand[]=charge", "object": "dispute"}),
    "no object": ("charge.dispute.closed", {}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "about"), FOREIGN.values(), ids=FOREIGN)
def test_an_event_about_nothing_of_ours_is_stored_and_moves_nothing(
    servers: Servers, market: Market, kind: str, about: dict[str, Any]
) -> None:
    """The provider is asked how things stand, and of this it knows nothing: no command comes of it."""
    event = an_event(kind, **about)
    assert tell(servers.engine, servers.endpoints, event) == [True]
    step = judged(servers, event)
    assert (step.command, step.wake) == (None, ())
    assert step.verdict in {"ignored", "wait", "refused"}
    assert market.balance("gateway_cash", "stripe") == 10**9
