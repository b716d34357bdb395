"""The outermost layer: a request id, a limit on the size of bodies, one line of log per request."""

import re
import secrets
import time
from datetime import UTC, datetime
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models import ids
from starter.api.problems import ProblemError, internal, response

LARGEST_BODY: Final = 256 * 1024
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")

log = structlog.get_logger(__name__)


class Boundary:
    """ASGI middleware. The body is read whole before anything looks at it; a larger one is answered 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

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
            body = await _whole(receive, headers)
            if body is None:
                problem = ProblemError(413, f"a body may have at most {LARGEST_BODY} bytes")
                await response(Request(scope), problem)(scope, receive, told)
            else:
                await self._app(scope, body, told)
        except Exception:
            if status:
                raise
            log.exception("request failed")
            await response(Request(scope), internal())(scope, receive, told)
        finally:
            took = round((time.monotonic() - began) * 1000, 1)
            log.info("request", method=scope["method"], path=scope["path"], status=status, took_ms=took)


async def _whole(receive: Receive, headers: Headers) -> Receive | None:
    """The body, read whole; None when it is too large."""
    announced = headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > LARGEST_BODY:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return lambda: _same(message)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            return None
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


async def _same(message: Message) -> Message:
    return message


def _request_id(given: str | None) -> str:
    """The caller's own id of the request, if it is one that may stand in a log; else one of ours."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return ids.make("req", datetime.now(UTC), secrets.token_bytes(10))
