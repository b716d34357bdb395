"""The sandbox's endpoints for tests and operators, ``/sandbox/…``. docs/sandbox.md lists them."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from starter.sandbox.books import Books
from starter.sandbox.faults import FaultQueue
from starter.sandbox.happenings import Happenings
from starter.sandbox.troubles import Troubles
from starter.sandbox.webhooks import Posting
from starter.sandbox.wire import Answer, RefusedError, error


class Control:
    """What can be done to the sandbox, and seen of it, beside its trade."""

    def __init__(self, books: Books, faults: FaultQueue, troubles: Troubles, happenings: Happenings) -> None:
        self._books = books
        self._faults = faults
        self._troubles = troubles
        self._happenings = happenings
        self.posting = Posting()

    def routes(self) -> list[Route]:
        """Where each is."""
        return [
            Route("/sandbox/plan", self.plan, methods=["GET", "PUT", "DELETE"]),
            Route("/sandbox/injected", self.injected),
            Route("/sandbox/faults", self.faults, methods=["POST", "DELETE"]),
            Route("/sandbox/journal", self.journal),
            Route("/sandbox/keys", self.keys, methods=["DELETE"]),
            Route("/sandbox/happenings/{name}", self.happen, methods=["POST"]),
            Route("/sandbox/events", self.events),
            Route("/sandbox/posting", self.post, methods=["POST"]),
        ]

    async def plan(self, request: Request) -> Response:
        """Set, drop or show the fault plan."""
        # Not in another thread: a request must not meet half of the old plan and half of the new one.
        try:
            if request.method == "PUT":
                self._troubles.put(await request.body())
            elif request.method == "DELETE":
                self._troubles.put(b"{}")
        except RefusedError as refused:
            return _refusal(refused.answer)
        return JSONResponse(self._troubles.document())

    async def injected(self, _: Request) -> Response:
        """Show what went wrong so far, by kind."""
        return JSONResponse(await asyncio.to_thread(self._troubles.injected))

    async def faults(self, request: Request) -> Response:
        """Queue a fault, or clear the queue."""
        if request.method == "DELETE":
            self._faults.clear()
            return Response(status_code=204)
        try:
            self._faults.add(await request.json())
        except RefusedError as refused:
            return _refusal(refused.answer)
        return Response(status_code=204)

    async def journal(self, request: Request) -> Response:
        """Show every request seen; ``?key=`` and ``?operation=`` narrow it down."""
        wanted = {name: value for name, value in request.query_params.items() if name in ("key", "operation")}
        lines = await asyncio.to_thread(self._books.journal)
        return JSONResponse([line for line in lines if all(line[name] == value for name, value in wanted.items())])

    async def keys(self, _: Request) -> Response:
        """Forget every idempotency key."""
        await asyncio.to_thread(self._books.forget_keys)
        return Response(status_code=204)

    async def happen(self, request: Request) -> Response:
        """Let something happen that nobody asked for."""
        try:
            document = await request.json()
            changed = await asyncio.to_thread(self._happenings.of, request.path_params["name"], document)
        except RefusedError as refused:
            return _refusal(refused.answer)
        return JSONResponse(changed)

    async def events(self, _: Request) -> Response:
        """Show every event, whether or not it was posted."""
        return JSONResponse(await asyncio.to_thread(self._books.events))

    async def post(self, request: Request) -> Response:
        """Change how events are posted from now on."""
        try:
            self.posting = Posting(**await request.json())
        except TypeError as wrong:
            return _refusal(error(400, "invalid_request_error", str(wrong)))
        return Response(status_code=204)


def _refusal(answer: Answer) -> Response:
    return JSONResponse(answer.body, answer.status)
