"""The sandbox's HTTP side: who asks, what goes wrong on purpose, what the key remembers, and the control endpoints.

``/v1/…`` speaks Stripe. ``/sandbox/…`` is for tests: ``POST`` and ``DELETE /sandbox/faults``, ``GET /sandbox/journal``
(every request seen), ``DELETE /sandbox/keys`` (as if 24 hours had passed), ``POST /sandbox/happenings/{name}`` (what
banks do by themselves), ``GET /sandbox/events`` and ``POST /sandbox/posting`` (how events are posted: held back,
repeated, shuffled). ``GET /healthz`` answers when it is up.
"""

import asyncio
import base64
import binascii
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from starter.sandbox.books import Books
from starter.sandbox.connections import DroppedConnection
from starter.sandbox.endpoints import LISTS, Endpoints
from starter.sandbox.faults import Fault, FaultQueue
from starter.sandbox.happenings import Happenings
from starter.sandbox.webhooks import Posting, deliver_for_ever
from starter.sandbox.wire import Answer, Params, RefusedError, decode_form, error, fingerprint, new_id, server_error

_CREATES: Final = {"payment_intents": "charge", "refunds": "refund", "transfers": "transfer"}
Work = Callable[[], Answer]


class Sandbox:
    """One sandbox: its books, its faults, and the keys that are being worked on."""

    def __init__(self, books: Books, *, api_key: str, enforce_balance: bool) -> None:
        self._books = books
        self._endpoints = Endpoints(books, enforce_balance=enforce_balance)
        self._faults = FaultQueue()
        self._happenings = Happenings(books)
        self.posting = Posting()
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
        fault = self._faults.take(operation, key, params)
        line = _line(request, operation, key, params, fault)
        answer = await self._misbehave_before(fault, line)
        if answer is None:
            answer = await self._answer(request, params, key, fault, line)
        if fault is not None and fault.fault in ("drop_before", "drop_reply_after"):
            return DroppedConnection()
        return _response(answer, key)

    async def control_faults(self, request: Request) -> Response:
        """Queue a fault, or clear the queue."""
        if request.method == "DELETE":
            self._faults.clear()
            return Response(status_code=204)
        try:
            self._faults.add(await request.json())
        except RefusedError as refused:
            return _response(refused.answer)
        return Response(status_code=204)

    async def control_journal(self, request: Request) -> Response:
        """Show every request seen; ``?key=`` and ``?operation=`` narrow it down."""
        wanted = {name: value for name, value in request.query_params.items() if name in ("key", "operation")}
        lines = await asyncio.to_thread(self._books.journal)
        return JSONResponse([line for line in lines if all(line[name] == value for name, value in wanted.items())])

    async def control_keys(self, _: Request) -> Response:
        """Forget every idempotency key."""
        await asyncio.to_thread(self._books.forget_keys)
        return Response(status_code=204)

    async def control_happenings(self, request: Request) -> Response:
        """Let something happen that nobody asked for."""
        try:
            document = await request.json()
            changed = await asyncio.to_thread(self._happenings.of, request.path_params["name"], document)
        except RefusedError as refused:
            return _response(refused.answer)
        return JSONResponse(changed)

    async def control_events(self, _: Request) -> Response:
        """Show every event, whether or not it was posted."""
        return JSONResponse(await asyncio.to_thread(self._books.events))

    async def control_posting(self, request: Request) -> Response:
        """Change how events are posted from now on."""
        try:
            self.posting = Posting(**await request.json())
        except TypeError as wrong:
            return _response(error(400, "invalid_request_error", str(wrong)))
        return Response(status_code=204)

    async def _misbehave_before(self, fault: Fault | None, line: dict[str, Any]) -> Answer | None:
        if fault is None:
            return None
        if fault.fault not in ("error_before", "drop_before", "rate_limit", "answer"):
            return None
        await asyncio.sleep(fault.seconds)
        answers = {
            "error_before": server_error(),
            "rate_limit": error(429, "invalid_request_error", "Too many requests", code="rate_limit"),
            "answer": Answer(fault.status, fault.body or {}),
            "drop_before": Answer(0, {}),
        }
        answer = answers[fault.fault]
        await asyncio.to_thread(self._books.note, line, answer if answer.status else None)
        return answer

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
            await asyncio.to_thread(self._books.note, line, answer)
            return answer
        if key is not None:
            self._in_flight.add(key)
        try:
            await asyncio.sleep(fault.seconds if fault is not None else 0)
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


def application(sandbox: Sandbox, books: Books, webhook_url: str | None, webhook_secret: str) -> Starlette:
    """Make the ASGI application; with a ``webhook_url`` it also posts events."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        posting = None
        if webhook_url:
            posting = asyncio.create_task(deliver_for_ever(books, webhook_url, webhook_secret, lambda: sandbox.posting))
        yield
        if posting is not None:
            posting.cancel()
            with suppress(asyncio.CancelledError):
                await posting
        books.close()

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/healthz", healthz),
            Route("/sandbox/faults", sandbox.control_faults, methods=["POST", "DELETE"]),
            Route("/sandbox/journal", sandbox.control_journal),
            Route("/sandbox/keys", sandbox.control_keys, methods=["DELETE"]),
            Route("/sandbox/happenings/{name}", sandbox.control_happenings, methods=["POST"]),
            Route("/sandbox/events", sandbox.control_events),
            Route("/sandbox/posting", sandbox.control_posting, methods=["POST"]),
            Route("/v1/{path:path}", sandbox.stripe, methods=["GET", "POST", "DELETE"]),
        ],
    )


def _broken() -> Answer:
    raise RefusedError(server_error(), executed=True)


def _operation(request: Request) -> str:
    steps = request.url.path.strip("/").split("/")[1:]
    if request.method == "GET":
        return "look_up"
    return "cancel" if steps[-1] == "cancel" else _CREATES.get(steps[0], "other")


def _line(request: Request, operation: str, key: str | None, params: Params, fault: Fault | None) -> dict[str, Any]:
    amount = params.get("amount")
    return {
        "method": request.method,
        "path": request.url.path,
        "operation": operation,
        "key": key,
        "amount": int(amount) if isinstance(amount, str) and amount.isdigit() else None,
        "currency": params.get("currency"),
        "params": params,
        "fault": None if fault is None else fault.fault,
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
