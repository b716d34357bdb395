"""The outermost layer: a request id, limits on how many, how large and how slow, one line of log per request."""

import asyncio
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models import ids
from starter.api.problems import RETRY_SECONDS, ProblemError, internal, response

LARGEST_BODY: Final = 256 * 1024
BODY_SECONDS: Final = 20.0
# How many requests one process takes on; more would wait for connections to PostgreSQL longer than callers wait.
AT_ONCE: Final = 256
# Whoever watches the process is answered also while it is busy.
_PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# Pages of histories are larger: read by the route itself, after it has looked at who asks.
_READ_BY_ITSELF: Final = "/codec/decode"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")

log = structlog.get_logger(__name__)


class Boundary:
    """ASGI middleware. The body is read whole before anything looks at it.

    One that is too large is answered 413, one that takes too long 408, and one request too many 503.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, headers = time.monotonic(), Headers(scope=scope)
        identifier = _request_id(headers.get("X-Request-Id"))
        scope.setdefault("state", {})["request_id"] = identifier
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=identifier)
        status = 0
        self._under_way += 1

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = MutableHeaders(scope=message)
                answered["X-Request-Id"] = identifier
                answered.setdefault("Cache-Control", "no-store")
                answered.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            try:
                self._refuse_too_many(scope)
                timely = _in_time(receive)
                whole = timely if scope["path"] == _READ_BY_ITSELF else await _whole(timely, headers)
            except ProblemError as problem:
                await response(Request(scope), problem)(scope, receive, told)
            except ClientDisconnect:
                log.info("gone before all of the body had come")
            else:
                await self._app(scope, whole, told)
        except Exception:
            if status:
                raise
            log.exception("request failed")
            await response(Request(scope), internal())(scope, receive, told)
        finally:
            self._under_way -= 1
            took = round((time.monotonic() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, took_ms=took)

    def _refuse_too_many(self, scope: Scope) -> None:
        if self._under_way > AT_ONCE and scope["path"] not in _PROBES:
            detail = "this process has too many requests at the moment: send the same request again"
            raise ProblemError(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def _in_time(receive: Receive) -> Receive:
    """The same, while the body comes within its time; after that it raises ``ProblemError`` (408)."""
    give_up, complete = asyncio.get_running_loop().time() + BODY_SECONDS, False

    async def timely() -> Message:
        nonlocal complete
        if complete:
            return await receive()  # waits for the end of the connection
        try:
            async with asyncio.timeout_at(give_up):
                message = await receive()
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS:.0f} seconds"
            raise ProblemError(408, detail, headers={"Connection": "close"}) from None
        complete = not message.get("more_body", False)
        return message

    return timely


async def _whole(receive: Receive, headers: Headers) -> Receive:
    """The body, read whole. Raises ``ProblemError`` (413) when it is too large, ``ClientDisconnect`` where it ends."""
    too_large = ProblemError(413, f"a body may have at most {LARGEST_BODY} bytes")
    announced = headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            raise too_large
        if not message.get("more_body", False):
            break
    whole: Message = {"type": "http.request", "body": b"".join(parts), "more_body": False}
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return whole

    return again


def _request_id(given: str | None) -> str:
    """The caller's own id of the request, if it is one that may stand in a log; else one of ours."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return ids.make("req", datetime.now(UTC), secrets.token_bytes(10))
