"""Webhooks: what the sandbox posts and signs, what the door believes, and what the adapter reads afterwards."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import stripe

from activities.gateways.port import Contested, GatewayUnavailableError, Sent, Succeeded, Taken
from starter.api.stripe_events import UnverifiedError, verified
from tests.gateway.sandbox_process import WEBHOOK_SECRET, SandboxProcess, eventually
from tests.gateway.test_outcomes import charge, transfer

Post = tuple[bytes, str]


class Inbox(ThreadingHTTPServer):
    """Takes what is posted to it; answers the first post of all with a 500."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        super().__init__(("127.0.0.1", 0), _Receive)


class _Receive(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((body, self.headers["Stripe-Signature"]))
        self.send_response(500 if len(self.server.posts) == 1 else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        pass


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def posting(tmp_path: Path, inbox: Inbox) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path, "--webhook-url", f"http://127.0.0.1:{inbox.server_port}/")
    yield process
    process.kill()


def a_body(**about: Any) -> bytes:
    event = {
        "id": "evt_1",
        "object": "event",
        "type": "transfer.created",
        "created": 1700000000,
        "data": {"object": about},
    }
    return json.dumps(event).encode()


def signature_of(body: bytes, timestamp: int, secret: str = WEBHOOK_SECRET) -> str:
    return str(stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp))


def test_the_sandbox_posts_until_it_is_heard_and_the_adapter_believes_it(
    posting: SandboxProcess, inbox: Inbox, key: str
) -> None:
    """Every event arrives at least once, signed as Stripe signs, naming our key and the provider's reference."""
    gateway = posting.gateway()
    paid, sent = charge(gateway, f"{key}:in"), transfer(gateway, f"{key}:out")
    assert isinstance(paid, Succeeded)
    assert isinstance(sent, Succeeded)
    eventually(lambda: len(inbox.posts) >= 3)
    events = [verified(body, signature, WEBHOOK_SECRET) for body, signature in inbox.posts]
    seen = {(event.type, event.subject, event.key, event.reference) for event in events}
    assert seen == {
        ("payment_intent.succeeded", "payment_intent", f"{key}:in", paid.reference),
        ("transfer.created", "transfer", f"{key}:out", sent.reference),
    }
    assert [event.id for event in events].count(events[0].id) == 2


def test_a_valid_signature_is_believed() -> None:
    """A webhook signed with our secret within five minutes is read; one about no operation of ours has no key."""
    body = a_body(id="tr_1", object="transfer", metadata={"holdfast_key": "pay_1:1"})
    event = verified(body, signature_of(body, int(time.time()) - 290), WEBHOOK_SECRET)
    assert (event.id, event.reference, event.key, event.subject) == ("evt_1", "tr_1", "pay_1:1", "transfer")
    foreign = a_body(id="po_1", object="payout")
    event = verified(foreign, signature_of(foreign, int(time.time())), WEBHOOK_SECRET)
    assert (event.reference, event.key, event.subject) == ("po_1", None, "payout")


BODY = a_body(id="tr_1", object="transfer")


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (BODY.replace(b"tr_1", b"tr_2"), lambda now: signature_of(BODY, now)),
        (BODY, lambda now: signature_of(BODY, now, "whsec_other")),
        (BODY, lambda now: signature_of(BODY, now - 301)),
        (BODY, lambda now: signature_of(BODY, now - 301).replace(str(now - 301), str(now))),
        (BODY, lambda now: ""),
        (BODY, lambda now: "t=1"),
        (BODY, lambda now: f"t={now},v0=abc"),
        (BODY, lambda now: f"t={now},v1=\u00e9"),
        (BODY, lambda now: "nonsense"),
        (b"\xff\xfe", lambda now: f"t={now},v1=abc"),
        (b"not json", lambda now: signature_of(b"not json", now)),
        (b"[]", lambda now: signature_of(b"[]", now)),
    ],
    ids=[
        *("altered", "other_secret", "stale", "redated", "empty", "no_signature", "other_scheme", "not_ascii"),
        *("nonsense", "not_utf8", "not_json", "list"),
    ],
)
def test_edge_15_a_forged_stale_or_damaged_webhook_is_refused(body: bytes, signature: Any) -> None:
    """Whatever is wrong with a webhook, it is one refusal and never another error."""
    with pytest.raises(UnverifiedError):
        verified(body, signature(int(time.time())), WEBHOOK_SECRET)


@pytest.mark.parametrize("secret", [None, "", " "])
def test_edge_15_without_a_secret_nothing_is_believed(secret: str | None) -> None:
    """A door without a secret refuses every webhook, one that was signed with nothing as well."""
    with pytest.raises(UnverifiedError):
        verified(BODY, signature_of(BODY, int(time.time()), secret or ""), secret)


def test_how_a_payment_stands_is_read_by_its_intent_or_its_charge(sandbox: SandboxProcess, key: str) -> None:
    """Taken, and after a late failure not: always what the latest charge says, with our key and our minor units."""
    gateway = sandbox.gateway()
    paid = charge(gateway, key)
    assert isinstance(paid, Succeeded)
    (object_,) = sandbox.list("charges", transfer_group=key)
    expected = Taken(key, object_["id"], "succeeded", paid.amount, paid.currency, None)
    assert [gateway.records().taken(one) for one in (paid.reference, object_["id"])] == [expected] * 2
    sandbox.happen("fail", key=key)
    failed = Taken(key, object_["id"], "failed", paid.amount, paid.currency, "insufficient_funds")
    assert [gateway.records().taken(one) for one in (paid.reference, object_["id"])] == [failed] * 2


def test_how_a_transfer_stands_says_how_much_came_back(sandbox: SandboxProcess, key: str) -> None:
    """Nothing, a part, all of it."""
    gateway = sandbox.gateway()
    sent = transfer(gateway, key)
    assert isinstance(sent, Succeeded)
    for back, in_all in ((0, 0), (400, 400), (None, sent.amount)):
        if back != 0:
            sandbox.happen("reverse", key=key, **({} if back is None else {"amount": back}))
        assert gateway.records().sent(sent.reference) == Sent(key, sent.amount, in_all, sent.currency)


def test_how_a_dispute_stands_names_the_payment_that_it_is_about(sandbox: SandboxProcess, key: str) -> None:
    """Open until the bank has decided; its money is out of the provider's balance until it is won."""
    gateway = sandbox.gateway()
    charge(gateway, key)
    dispute = sandbox.happen("contest", key=key, amount=1234, reason="fraudulent")
    assert gateway.records().contested(dispute["id"]) == Contested(key, 1234, "EUR", "open", False, "fraudulent")
    assert sandbox.moved(dispute["id"]) == [-1234]
    sandbox.happen("decide", reference=dispute["id"], status="won")
    assert gateway.records().contested(dispute["id"]) == Contested(key, 1234, "EUR", "won", False, "fraudulent")
    assert sandbox.moved(dispute["id"]) == [1234, -1234]


def test_what_the_provider_does_not_have_is_none_and_what_it_does_not_say_is_an_error(sandbox: SandboxProcess) -> None:
    """Nobody may conclude from silence that there is nothing."""
    records = sandbox.gateway().records()
    for ask in (records.taken, records.sent, records.contested):
        assert ask("pi_nobodys" if ask == records.taken else "xx_nobodys") is None
        sandbox.fault("look_up", "answer", status=503, body={"error": {"type": "api_error"}})
        with pytest.raises(GatewayUnavailableError):
            ask("pi_nobodys")
        sandbox.fault("look_up", "answer", status=200, body="<html>")
        with pytest.raises(GatewayUnavailableError):
            ask("pi_nobodys")
