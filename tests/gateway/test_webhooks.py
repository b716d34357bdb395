"""Webhooks: what the sandbox posts and signs, and what the adapter believes."""

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import stripe

from activities.gateways.port import InvalidSignatureError, Succeeded
from activities.gateways.stripe import StripeGateway
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
    events = [gateway.verify_webhook(body=body, signature=signature) for body, signature in inbox.posts]
    seen = {(event.type, event.operation, event.key, event.reference) for event in events}
    assert seen == {
        ("payment_intent.succeeded", "charge", f"{key}:in", paid.reference),
        ("transfer.created", "transfer", f"{key}:out", sent.reference),
    }
    assert [event.id for event in events].count(events[0].id) == 2


def test_a_valid_signature_is_believed(gateway: StripeGateway) -> None:
    """A webhook signed with our secret within five minutes is read; one about no operation of ours has no key."""
    body = a_body(id="tr_1", object="transfer", metadata={"holdfast_key": "pay_1:1"})
    event = gateway.verify_webhook(body=body, signature=signature_of(body, int(time.time()) - 290))
    assert (event.id, event.reference, event.key, event.operation) == ("evt_1", "tr_1", "pay_1:1", "transfer")
    foreign = a_body(id="po_1", object="payout")
    event = gateway.verify_webhook(body=foreign, signature=signature_of(foreign, int(time.time())))
    assert (event.reference, event.key, event.operation) == ("po_1", None, None)


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
def test_a_forged_stale_or_damaged_webhook_is_refused(gateway: StripeGateway, body: bytes, signature: Any) -> None:
    """Whatever is wrong with a webhook, it is one refusal and never another error."""
    with pytest.raises(InvalidSignatureError):
        gateway.verify_webhook(body=body, signature=signature(int(time.time())))


def test_without_a_secret_nothing_is_believed() -> None:
    """An adapter without a webhook secret refuses every webhook."""
    gateway = StripeGateway(api_key="sk_test_x", webhook_secret="")
    with pytest.raises(InvalidSignatureError):
        gateway.verify_webhook(body=BODY, signature=signature_of(BODY, int(time.time()), ""))
