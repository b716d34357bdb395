"""The corpus over HTTP: nothing but clear refusals, and afterwards the process serves as before.

Each field of several requests gets every hostile value; whole bodies, paths, headers and what is no HTTP at all follow.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.api.service import Api, Tenant
from tests.hostile.corpus_files import bytes_of, each, entries, filled, text_of

CREATE: Final = {"buyer": "alice", "seller": "bob", "amount": 100, "currency": "EUR", "title": "Website"}
# Requests into whose every field each value of the corpus is put; what they ask for is on no escrow of anybody.
_GONE: Final = "esc_01jd3v6k9q4m8n2p5r7s0t1w3x"
REQUESTS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "create": ("POST", "/v1/escrows", CREATE | {
        "category": "web", "milestones": [{"title": "a", "amount": 1}], "metadata": {"a": "b"}, "release": {},
        "template": "wedding", "event_date": "2026-06-15",
    }),
    "dispute": ("POST", f"/v1/escrows/{_GONE}/disputes", {
        "reason": "x", "description": "x", "evidence": [], "milestones": [],
    }),
    "resolve": ("POST", "/v1/disputes/dsp_01jd3v6k9q4m8n2p5r7s0t1w3x/resolve", {
        "resolution": "split", "details": "x", "refund_amount": 1, "seller_share": "0.5",
    }),
    "reverse": ("POST", "/v1/milestones/mil_01jd3v6k9q4m8n2p5r7s0t1w3x/reverse", {"amount": 1, "reason": "x"}),
    "party": ("PUT", "/v1/parties/mallory", {
        "name": "x", "email": "x@example.com", "kyc_status": "none", "payout_destination": "acct_1",
    }),
    "top-up": ("POST", "/v1/wallets/mallory/topups", {"amount": 1, "currency": "EUR", "payment_method": "pm_1"}),
    "fees": ("POST", "/v1/policies/fees", {"pin_at": "release", "rules": [], "dispute_fee": {}}),
    "rate": ("PUT", "/v1/exchange-rates", {"base": "EUR", "quote": "USD", "rate": "1.08", "as_of": "2026-01-01"}),
    "quote": ("POST", "/v1/fee-quotes", {
        "outcome": "release", "category": "web", "amount": 1, "currency": "EUR", "seller": "bob",
    }),
    "clock": ("POST", "/v1/test-clock/advance", {"by": "P1D"}),
    "endpoint": ("POST", "/v1/webhook-endpoints", {"url": "https://example.com/", "events": ["*"]}),
}  # fmt: skip
_MIB: Final = 1 << 20
VALUES: Final = [one["name"] for one in entries("values")]
ALL: Final = bool(os.environ.get("HOSTILE_MINUTES"))


@pytest.fixture(autouse=True, scope="module")
def lives(api: Api, tenant: Tenant) -> Iterator[None]:
    """After everything the same process serves, has not grown beyond measure, and has made no mistake."""
    process = psutil.Process(api.process.pid)
    before = process.memory_info().rss
    yield
    assert api.process.poll() is None
    assert tenant.create()["state"] == "created"
    assert process.memory_info().rss - before < 256 * _MIB
    assert "request failed" not in api.log.read_text(errors="replace")


def send(tenant: Tenant, method: str, path: str, body: bytes | None, **headers: str | None) -> httpx.Response:
    """Ask as the platform, byte by byte as given; a header of None is not sent."""
    usual = {
        "Authorization": f"Bearer {tenant.operator.key}", "Idempotency-Key": uuid4().hex,
        "Content-Type": "application/json",
    }  # fmt: skip
    said = {name: value for name, value in (usual | headers).items() if value is not None}
    sent = {name.encode(): value.encode("latin-1") for name, value in said.items()}
    request = httpx.Request(method, f"{tenant.api.address}/", content=body, headers=sent)
    # As it is written: httpx would tidy up what a path has.
    request.extensions = {"target": path.encode("latin-1")}
    return tenant.http.send(request)


def refused(answer: httpx.Response, *statuses: int) -> Any:
    """The problem that a refusal has to be: of a status below 500, with a code and words for people."""
    assert answer.status_code in (statuses or range(400, 500)), f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text[:500]
    problem = answer.json()
    assert problem["code"]
    assert len(problem["detail"]) > 10
    assert len(answer.content) < 40_000
    for leak in ("Traceback", "psycopg", "sqlalchemy", "pydantic", "site-packages"):
        assert leak not in answer.text
    return problem


def trials(number: int) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Requests with the field that gets the value of that number: some of them in turn, or for HOSTILE_MINUTES all."""
    every = list(REQUESTS.values())
    for method, path, body in every if ALL else (every[(number + step) % len(every)] for step in (0, 4, 7)):
        fields = list(body)
        for field in fields if ALL else (fields[number % len(fields)],):
            yield method, path, body, field


@each("values")
def test_a_hostile_value_in_any_field_is_refused_or_taken_as_it_is(tenant: Tenant, case: dict[str, Any]) -> None:
    """Refused with a problem that says what is wrong; or taken, and then it comes back as it was sent."""
    value = text_of(case, "json")
    for method, path, body, field in trials(VALUES.index(case["name"])):
        said = json.dumps(body | {field: "@"}).replace('"@"', value, 1)
        answer = send(tenant, method, path, said.encode())
        if not answer.is_success:
            refused(answer)
        elif isinstance(kept := answer.json().get(field), str | int):
            assert str(kept) == str(json.loads(value)).strip(), field


@each("bodies")
def test_a_body_that_is_no_request_is_refused_as_what_it_is(tenant: Tenant, case: dict[str, Any]) -> None:
    """In words that name what is wrong with it."""
    answer = send(tenant, "POST", "/v1/escrows", bytes_of(case), **case.get("headers", {}))
    assert case.get("detail", "") in refused(answer, *case["status"])["detail"]


def test_a_body_that_can_be_read_in_two_ways_does_not_use_up_the_key(tenant: Tenant) -> None:
    """It was no request, so its Idempotency-Key may still stand for one."""
    key = {"Idempotency-Key": uuid4().hex}
    twice = json.dumps(CREATE).replace('"amount": 100', '"amount": 1, "amount": 100').encode()
    problem = refused(send(tenant, "POST", "/v1/escrows", twice, **key), 400)
    assert problem["detail"] == "the body cannot be read in one way only: the member 'amount' is there twice"
    assert send(tenant, "POST", "/v1/escrows", json.dumps(CREATE).encode(), **key).status_code == 201


@each("requests")
def test_an_odd_path_or_header_is_refused_or_means_nothing(tenant: Tenant, case: dict[str, Any]) -> None:
    """Whatever is in it comes back neither as a header nor as anything but JSON."""
    method = case.get("method", "GET")
    headers = {name: value and filled(case, value) for name, value in case.get("headers", {}).items()}
    body = None if method == "GET" else json.dumps(CREATE if method == "POST" else {"title": "x"}).encode()
    answer = send(tenant, method, filled(case, case["path"]), body, **headers)
    assert answer.status_code in case["status"], answer.text[:300]
    assert "Set-Cookie" not in answer.headers
    if not answer.is_success:
        refused(answer, *case["status"])


@pytest.fixture(scope="module")
def nobody(api: Api) -> Iterator[Tenant]:
    """A tenant of whom there is nothing, neither before nor afterwards."""
    tenant = api.tenant()
    yield tenant
    assert tenant.platform.get("/v1/escrows")["data"] == []


def raw(api: Api, said: bytes, *, closing: bool = False, reset: bool = False) -> bytes:
    """What is answered to bytes on a connection; ``closing`` says no more after them, ``reset`` hangs up at once."""
    address = httpx.URL(api.address)
    assert address.port is not None
    with socket.create_connection((address.host, address.port), timeout=30) as connection:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            connection.sendall(said)
            if reset:
                return b""
            if closing:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:  # refused in the middle of it
            return b""


def head(tenant: Tenant, *more: bytes) -> bytes:
    """The beginning of a request that should make an escrow."""
    usual = (
        b"POST /v1/escrows HTTP/1.1", b"Host: x", b"Authorization: Bearer " + tenant.platform.key.encode(),
        b"Idempotency-Key: " + uuid4().hex.encode(), b"Content-Type: application/json", b"Connection: close",
    )  # fmt: skip
    return b"\r\n".join((*usual, *more)) + b"\r\n\r\n"


# What is sent after the usual lines of the head, and after the head.
NO_HTTP: Final[dict[str, tuple[tuple[bytes, ...], bytes]]] = {
    "ten thousand headers": (tuple(b"X-%d: a" % number for number in range(10_000)), b""),
    "a header of a megabyte": ((b"X: " + b"a" * _MIB,), b""),
    "a null byte in a header": ((b"X: a\x00b",), b""),
    "a header that is folded": ((b"X: a", b" b"), b""),
    "a header without a name": ((b": a",), b""),
    "two lengths": ((b"Content-Length: 2", b"Content-Length: 3"), b"{}x"),
    "a negative length": ((b"Content-Length: -1",), b"{}"),
    "a length beyond all": ((b"Content-Length: " + b"9" * 30,), b"{}"),
    "a length that is none": ((b"Content-Length: 2x",), b"{}"),
    "a length and chunks": ((b"Content-Length: 2", b"Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "chunks of no size": ((b"Transfer-Encoding: chunked",), b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk beyond all": ((b"Transfer-Encoding: chunked",), b"f" * 20 + b"\r\n{}"),
    "a coding that nobody knows": ((b"Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
    "a second request inside": ((b"Content-Length: 0",), b"GET /v1/escrows HTTP/1.1\r\nHost: x\r\n\r\n"),
    "chunks without end": ((b"Transfer-Encoding: chunked",), b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "half a body": ((b"Content-Length: 1000",), b"{"),
}


@pytest.mark.parametrize("reset", [False, True], ids=["and waits", "and hangs up"])
@pytest.mark.parametrize("name", NO_HTTP)
def test_what_is_hardly_http_is_refused_or_forgotten(api: Api, nobody: Tenant, name: str, reset: bool) -> None:
    """An answer of 4xx, or none where the other side has gone; nothing is made of it, and nothing is logged as ours."""
    lines, rest = NO_HTTP[name]
    answer = raw(api, head(nobody, *lines) + rest, closing=True, reset=reset)
    assert answer == b"" or answer.split(b" ", 2)[1][:1] == b"4", answer[:300]


STRANGE: Final = {
    "nothing": b"",
    "ends of lines": b"\r\n" * 5000,
    "a word": b"GET",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP of another day": b"GET / HTTP/9.9\r\n\r\n",
    "a path without end": b"GET /" + b"a" * 200_000,
}


@pytest.mark.parametrize("said", STRANGE.values(), ids=STRANGE)
def test_what_is_no_http_at_all_is_answered_or_dropped(api: Api, said: bytes) -> None:
    """Also where it is TLS, or another version."""
    answer = raw(api, said, closing=True)
    assert answer == b"" or answer.split(b" ", 2)[1][:1] == b"4", answer[:300]
