"""The sandbox's HTTP side: who asks, what goes wrong on purpose, and what the key remembers.

``/v1/…`` speaks Stripe, ``/sandbox/…`` is for tests (``starter.sandbox.control``), ``/healthz`` answers when it is up.
"""

import asyncio
import base64
import binascii
import hmac
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, Never
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from starter.sandbox.books import Books
from starter.sandbox.connections import DroppedConnection
from starter.sandbox.control import Control
from starter.sandbox.endpoints import LISTS, Endpoints
from starter.sandbox.faults import INSTEAD_OF_WORK, WITHOUT_ANSWER, Fault, FaultQueue
from starter.sandbox.plan import Asked
from starter.sandbox.troubles import Troubles
from starter.sandbox.webhooks import deliver_for_ever
from starter.sandbox.wire import Answer, Params, RefusedError, decode_form, error, fingerprint, new_id, server_error

_CREATES: Final = {"payment_intents": "charge", "refunds": "refund", "transfers": "transfer"}
_ID: Final = re.compile(r"\b[a-z]+_[A-Za-z0-9]{24}\b")
_HAPPENINGS_EVERY_SECONDS: Final = 0.1
Work = Callable[[], Answer]


class Sandbox:
    """One sandbox: its books, what goes wrong, and the keys that are being worked on."""

    def __init__(
        self, books: Books, faults: FaultQueue, troubles: Troubles, *, api_key: str, enforce_balance: bool
    ) -> None:
        self._books = books
        self._endpoints = Endpoints(books, enforce_balance=enforce_balance)
        self._faults = faults
        self._troubles = troubles
        self._api_key = api_key
        self._in_flight: set[str] = set()

    async def stripe(self, request: Request) -> Response:
        """Answer one request to ``/v1/…``."""
        if not _authorised(request, self._api_key):
            return _response(error(401, "invalid_request_error", "Invalid API Key provided."))
        try:
            params = decode_form(
                request.url.query if request.method == "GET" else (await request.body()).decode(errors="replace")
            )
        except RefusedError as refused:
            return _response(refused.answer)
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        operation = _operation(request)
        subject = await asyncio.to_thread(self._subject, request, operation, key)
        asked, counts = self._troubles.asked(operation, subject, key, params), list[str]()
        fault = self._faults.take(operation, key, params)
        if fault is None:
            fault, counts = self._troubles.strike(asked)
        line = _line(request, asked, fault, counts)
        answer = await self._misbehave_before(fault, line)
        if answer is None:
            answer = await self._answer(request, params, key, fault, line)
        if fault is None:
            return _response(answer, key)
        if fault.fault in ("restart_before", "restart_after"):
            _die()
        if fault.fault in WITHOUT_ANSWER:
            return DroppedConnection(reset=fault.fault in ("reset_before", "reset_after"))
        await asyncio.sleep(fault.seconds if fault.fault == "delay_after" else 0)
        return _response(answer, key)

    def _subject(self, request: Request, operation: str, key: str | None) -> str:
        """What a request is about, in words that are the same however often the same story is played.

        The key, but a look-up has none and that of a cancellation is made up by Stripe's library: for them the address
        in which ids, which are random, stand for the keys under which their objects were made.
        """
        if key is not None and operation not in ("cancel", "look_up"):
            return key
        address = f"{request.method} {request.url.path}?{unquote_plus(request.url.query)}"
        return _ID.sub(lambda found: self._books.cause_of(found[0]), address)

    async def _misbehave_before(self, fault: Fault | None, line: dict[str, Any]) -> Answer | None:
        if fault is None or fault.fault not in INSTEAD_OF_WORK:
            return None
        await asyncio.sleep(fault.seconds)
        answers = {
            "error_before": server_error(),
            "rate_limit": _too_many(fault.retry_after),
            "answer": Answer(fault.status, fault.body or {}),
        }
        answer = answers.get(fault.fault)
        await asyncio.to_thread(self._books.note, line, answer)
        return answer or Answer(0, {})

    async def _answer(
        self, request: Request, params: Params, key: str | None, fault: Fault | None, line: dict[str, Any]
    ) -> Answer:
        if key in self._in_flight:
            answer = error(
                409,
                "invalid_request_error",
                f"There is currently another in-progress request using this Idempotent Key: {key}",
                code="idempotency_key_in_use",
            )
            if line["fault"] not in WITHOUT_ANSWER:
                line["fault"] = None  # it comes to nothing
            await asyncio.to_thread(self._books.note, line, answer)
            return answer
        if key is not None:
            self._in_flight.add(key)
        try:
            await asyncio.sleep(0 if fault is None or fault.fault == "delay_after" else fault.seconds)
            work, instead = self._work(request, params, fault)
            mark = fingerprint(request.method, request.url.path, params)
            return await asyncio.to_thread(self._books.once, key, mark, work, line, instead)
        finally:
            self._in_flight.discard(key or "")

    def _work(self, request: Request, params: Params, fault: Fault | None) -> tuple[Work, Answer | None]:
        if fault is not None and fault.fault == "error_stored":
            return _broken, None
        instead = server_error() if fault is not None and fault.fault == "error_after" else None
        return partial(self._dispatch, request, params, fault), instead

    def _dispatch(self, request: Request, params: Params, fault: Fault | None) -> Answer:
        match request.method, request.url.path.strip("/").split("/")[1:]:
            case "GET", ["balance"]:
                return self._endpoints.balance()
            case "GET", [path] if path in LISTS:
                return self._endpoints.list(path, params)
            case "GET", [path, reference] if path in LISTS:
                return self._endpoints.retrieve(path, reference)
            case "POST", ["payment_intents"]:
                return self._endpoints.create_payment_intent(params, fault)
            case "POST", ["payment_intents", reference, "cancel"]:
                return self._endpoints.cancel_payment_intent(reference, params)
            case "POST", ["refunds"]:
                return self._endpoints.create_refund(params, fault)
            case "POST", ["transfers"]:
                return self._endpoints.create_transfer(params, fault)
            case _:
                message = f"Unrecognized request URL ({request.method}: {request.url.path})."
                raise RefusedError(error(404, "invalid_request_error", message))


def application(
    sandbox: Sandbox, control: Control, books: Books, troubles: Troubles, webhook_url: str | None, webhook_secret: str
) -> Starlette:
    """Make the ASGI application; with a ``webhook_url`` it also posts events."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_happen_for_ever(troubles))]
        if webhook_url:
            posting = deliver_for_ever(books, webhook_url, webhook_secret, lambda: control.posting)
            tasks.append(asyncio.create_task(posting))
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        books.close()

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/healthz", healthz),
            *control.routes(),
            Route("/v1/{path:path}", sandbox.stripe, methods=["GET", "POST", "DELETE"]),
        ],
    )


async def _happen_for_ever(troubles: Troubles) -> None:
    while True:
        await asyncio.to_thread(troubles.happen)
        await asyncio.sleep(_HAPPENINGS_EVERY_SECONDS)


def _die() -> Never:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable: SIGKILL")


def _too_many(retry_after: int | None) -> Answer:
    refusal = error(429, "invalid_request_error", "Too many requests", code="rate_limit")
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Answer(refusal.status, refusal.body, headers)


def _broken() -> Answer:
    raise RefusedError(server_error(), executed=True)


def _operation(request: Request) -> str:
    steps = request.url.path.strip("/").split("/")[1:]
    if request.method == "GET":
        return "look_up"
    return "cancel" if steps[-1] == "cancel" else _CREATES.get(steps[0], "other")


def _line(request: Request, asked: Asked, fault: Fault | None, counts: list[str]) -> dict[str, Any]:
    amount = asked.params.get("amount")
    return {
        "method": request.method,
        "path": request.url.path,
        "operation": asked.operation,
        "key": asked.key,
        "subject": asked.subject,
        "attempt": asked.attempt,
        "amount": int(amount) if isinstance(amount, str) and amount.isdigit() else None,
        "currency": asked.params.get("currency"),
        "params": asked.params,
        "fault": None if fault is None else fault.fault,
        "counts": counts,
    }


def _authorised(request: Request, api_key: str) -> bool:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            credentials = base64.b64decode(credentials).decode().split(":", 1)[0]
        except (binascii.Error, UnicodeDecodeError):
            return False
    return hmac.compare_digest(credentials.encode(), api_key.encode())


def _response(answer: Answer, key: str | None = None) -> Response:
    headers = {"Request-Id": new_id("req"), **answer.headers}
    if key is not None:
        headers["Idempotency-Key"] = key
    if isinstance(answer.body, str):
        return PlainTextResponse(answer.body, answer.status, headers)
    return JSONResponse(answer.body, answer.status, headers)
