"""The codec endpoint: operators' Temporal UI and CLI read through it what Temporal stores encrypted.

Temporal's protocol for remote codecs, decoding only: nobody encrypts here what a worker would then believe. It opens to
``Authorization: Bearer <codec secret>``, and to the cookie of its own small login page for a UI in a browser, whose
settings have "Include cross-origin credentials" for it.
"""

import hmac
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from ledger.keyring import Keyring, UnknownKeyError
from starter.api.problems import ProblemError, response
from starter.payloads import EncryptedPayloads

MAX_BYTES: Final = 16 * 1024 * 1024  # a page of history: payloads of up to 2 MB each
_LOGGED_IN_SECONDS: Final = 12 * 3600
_COOKIE: Final = "holdfast_codec"
_PATH: Final = "/codec"
_HEADERS: Final = "authorization, authorization-extras, content-type, x-namespace"
_MOST_FAILURES: Final = 10
_FAILURES_WITHIN_SECONDS: Final = 60.0
_MOST_ADDRESSES: Final = 1000
_LONGEST_FORM: Final = 4096

# Nothing in them comes from a request.
_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Holdfast codec</title>
<body style="font-family: sans-serif; max-width: 36em; margin: 4em auto">{}</body></html>"""
_FORM: Final = """<h1>Read histories in the Temporal UI</h1><form method="post" action="/codec/login">
<p><label>Codec secret (HOLDFAST_CODEC_SECRET)<br>
<input type="password" name="secret" autocomplete="current-password" size="48" required autofocus></label></p>
<p><button>Log in</button></p></form>"""
_WRONG: Final = "<p role='alert'><strong>This is not the codec secret.</strong></p>"
_INSIDE: Final = """<h1>Logged in for 12 hours</h1><p>In the Temporal UI open the codec settings (the glasses at the
top) and switch on <em>Include cross-origin credentials</em>. Open the UI under the same host name as this page.</p>"""


class Failures:
    """How often an address was wrong lately. ``clock`` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def add(self, address: str) -> None:
        """Remember a failure; the addresses that failed last are kept."""
        self._failed.setdefault(address, deque(maxlen=_MOST_FAILURES)).append(self._clock())
        self._failed.move_to_end(address)
        if len(self._failed) > _MOST_ADDRESSES:
            self._failed.popitem(last=False)

    def wait(self, address: str) -> float:
        """For how many seconds the address may not try again; 0 when it may."""
        failed = self._failed.get(address)
        if failed is None or len(failed) < _MOST_FAILURES:
            return 0.0
        return max(0.0, failed[0] + _FAILURES_WITHIN_SECONDS - self._clock())


class Doorkeeper:
    """Who may read: whoever knows the secret, or bears a cookie that we signed for them. It ends with the secret."""

    def __init__(self, keyring: Keyring, secret: str, failures: Failures) -> None:
        self._keyring = keyring
        self._secret = secret.encode()
        self._failures = failures

    def admit(self, request: Request) -> None:
        """Raise ``ProblemError``: 401 without credentials that hold, 429 for an address that was wrong too often."""
        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(request, said):
            return
        if self._good(request.cookies.get(_COOKIE, "")):
            return
        detail = f"give the codec secret as a bearer token, or log in at {_PATH}/login"
        raise ProblemError(401, detail, headers={"WWW-Authenticate": "Bearer"})

    def knows(self, request: Request, said: str) -> bool:
        """Whether this is the secret. Raises ``ProblemError`` (429) for an address that was wrong too often."""
        address = request.client.host if request.client else ""
        if wait := self._failures.wait(address):
            headers = {"Retry-After": str(int(wait) + 1)}
            raise ProblemError(429, "too many wrong secrets from this address: wait a minute", headers=headers)
        if hmac.compare_digest(said.encode(), self._secret):
            return True
        self._failures.add(address)
        return False

    def cookie(self) -> str:
        """A cookie's value: until when, and our signature."""
        until = str(int(time.time()) + _LOGGED_IN_SECONDS)
        return f"{until}.{self._keyring.sign('session', self._about(until))}"

    def _good(self, cookie: str) -> bool:
        until, _, signature = cookie.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < len("1" * 16)):
            return False
        return int(until) > time.time() and self._keyring.verifies("session", self._about(until), signature)

    def _about(self, until: str) -> bytes:
        return f"codec {until} {sha256(self._secret).hexdigest()}".encode()


def router(keyring: Keyring, secret: str, ui_origins: Sequence[str]) -> APIRouter:
    """The routes under ``/codec``. ``ui_origins`` such as ``http://127.0.0.1:8233`` may use them from a browser.

    The cookie needs a UI on the same host, whatever its port.
    """
    routes = APIRouter(include_in_schema=False)
    door = Doorkeeper(keyring, secret, Failures())
    codec, origins = EncryptedPayloads(keyring), frozenset(ui_origins)

    @routes.options(f"{_PATH}/decode")
    async def preflight(request: Request) -> Response:
        headers = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": _HEADERS}
        return Response(status_code=204, headers=_cors(request, origins) | headers)

    @routes.post(f"{_PATH}/decode")
    async def decode(request: Request) -> Response:
        try:
            door.admit(request)
            payloads = _read(await _body(request, MAX_BYTES))
            whole = Payloads(payloads=[await _decoded(codec, one) for one in payloads])
            answer = Response(_written(whole), media_type="application/json")
        except ProblemError as problem:
            answer = response(request, problem)  # the UI reads it only with the headers below
        answer.headers.update(_cors(request, origins) | {"Cache-Control": "no-store"})
        return answer

    @routes.get(f"{_PATH}/login")
    async def ask() -> Response:
        return _page(_FORM)

    @routes.post(f"{_PATH}/login")
    async def log_in(request: Request) -> Response:
        if (origin := request.headers.get("origin")) and origin.partition("://")[2] != request.headers.get("host"):
            raise ProblemError(403, "log in from the page of this server")
        form = parse_qs((await _body(request, _LONGEST_FORM)).decode("utf-8", "replace"))
        if not door.knows(request, form.get("secret", [""])[0]):
            return _page(_WRONG + _FORM, 401)
        answer = RedirectResponse(f"{_PATH}/login/done", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            _COOKIE, door.cookie(), _LOGGED_IN_SECONDS, path=_PATH, httponly=True, samesite="lax", secure=secure
        )
        return answer

    @routes.get(f"{_PATH}/login/done")
    async def done() -> Response:
        return _page(_INSIDE)

    return routes


def _cors(request: Request, origins: frozenset[str]) -> dict[str, str]:
    """What lets the UI's pages read the answer, and no other page."""
    origin = request.headers.get("origin")
    if origin not in origins:
        return {"Vary": "Origin"}
    return {"Vary": "Origin", "Access-Control-Allow-Origin": str(origin), "Access-Control-Allow-Credentials": "true"}


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ProblemError(413, f"a body may have {limit} bytes")
    return bytes(body)


def _read(body: bytes) -> list[Payload]:
    try:
        return list(json_format.Parse(body, Payloads(), ignore_unknown_fields=True).payloads)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, 'expected {"payloads": [...]} as the JSON of Temporal\'s Payloads') from None


async def _decoded(codec: EncryptedPayloads, payload: Payload) -> Payload:
    """What cannot be read here stays as it is; the rest of the page is worth showing."""
    try:
        return (await codec.decode([payload]))[0]
    except UnknownKeyError:
        return payload


def _written(payloads: Payloads) -> str:
    # Protobuf leaves empty lists out; the UI expects this one.
    return json_format.MessageToJson(payloads, indent=None) if payloads.payloads else '{"payloads": []}'


def _page(body: str, status: int = 200) -> HTMLResponse:
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'",
    }
    return HTMLResponse(_PAGE.format(body), status, headers)
