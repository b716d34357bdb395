"""Every route: who asks, how often they may, and that what changes something happens once per Idempotency-Key.

Success and definite refusals are kept and answered again; what is transient is not. Source: api.md, "Habits".
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pydantic import ValidationError
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from ledger.answers import Answer, Answers, Claim
from ledger.engine import for_tenant
from ledger.keyring import Keyring
from models.commands import Origin
from models.errors import RefusedError
from models.fields import printable
from starter.api.metrics import Metrics
from starter.api.principals import Principal, authenticate
from starter.api.problems import ProblemError, problem_of, response
from starter.sender import Sender

KEY: Final = re.compile(r"[\x21-\x7d][\x21-\x7e]{0,149}")
_CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEPT_HEADERS: Final = frozenset({"etag", "location", "content-type"})
# For how long one that comes second waits for the first; then it is told that the first is still running.
_WAIT_SECONDS: Final = 8.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_LONGEST_LOOK_SECONDS: Final = 0.4
_BURST_SECONDS: Final = 5
# A client that went away does not end what it began.
_TRANSIENT_FROM: Final = 500

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
log = structlog.get_logger(__name__)


class Limiter:
    """How many requests one principal may make, per process: bursts are evened out over a few seconds."""

    def __init__(self, per_second: float) -> None:
        self._limit = RateLimitItemPerSecond(max(1, round(per_second * _BURST_SECONDS)), _BURST_SECONDS)
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    def admit(self, who: str) -> None:
        """Raise ``ProblemError`` (429) with ``Retry-After`` when it is too much."""
        if not self._window.hit(self._limit, who):
            raise ProblemError(
                429,
                f"at most {self._limit.amount} requests in {_BURST_SECONDS} seconds: wait before the next one",
                headers={"Retry-After": "1"},
            )


class Collaborators(Protocol):
    """What the application keeps for its routes in ``app.state.holdfast``."""

    engine: Engine
    keyring: Keyring
    limiter: Limiter
    bootstrap_secret: str | None
    metrics: Metrics

    def sender(self, tenant: str) -> Sender:
        """Sends commands for one tenant."""


@dataclass
class Asked:
    """One request: who asks, under which key, and what is reached with it. Routes get it as ``Ask``."""

    principal: Principal
    engine: Engine
    sender: Sender
    keyring: Keyring
    origin: Origin
    request_id: str
    key: str = ""
    claim: Claim | None = None
    answers: Answers | None = field(default=None, repr=False)
    metrics: Metrics = field(kw_only=True, repr=False)

    @property
    def tenant(self) -> str:
        """Whose books are asked."""
        return self.principal.tenant

    @property
    def claimed_at(self) -> datetime:
        """When the request was first made: what is derived from it is the same at every attempt."""
        if self.claim is None:
            raise RuntimeError("only a request that changes something is claimed")
        return self.claim.claimed_at

    async def settled(self, name: str, compute: Callable[[], Any]) -> Any:
        """A value that the first attempt computes and every later one finds. JSON."""
        if self.claim is None or self.answers is None:
            raise RuntimeError("only a request that changes something is claimed")
        if name not in self.claim.memo:
            self.claim.memo[name] = await run_in_threadpool(compute)
            await run_in_threadpool(self.answers.remember, self.key, self.claim.memo)
        return self.claim.memo[name]


class OnceRoute(APIRoute):
    """A route of a tenant: authenticated, limited, and carried out once per Idempotency-Key if it changes something."""

    key_required = True

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            asked = await _admitted(request)
            if request.method not in _CHANGES:
                return await handle(request)
            if asked.principal.role == "read_only":
                raise ProblemError(403, "this key may only read")
            own = None if self.key_required or "Idempotency-Key" in request.headers else asked.request_id
            asked.key = asked.principal.scope + (own or required_key(request))
            asked.answers = Answers(asked.engine, asked.tenant, asked.keyring)
            return await once(request, asked.answers, asked.key, handle, asked)

        return handler


class KeylessRoute(OnceRoute):
    """Paths of documents that know no Idempotency-Key: it may be given; without one a request stands for itself."""

    key_required = False


async def once(request: Request, answers: Answers, key: str, handle: Handler, asked: Asked | None) -> Response:
    """Carry a request out unless its answer is known; keep the answer if it is definite."""
    body = await request.body()
    actor = str(asked.principal.actor) if asked else "bootstrap"
    found = await _claimed(answers, key, _fingerprint(request, actor, body), request.url.path)
    if isinstance(found, Answer):
        return _replayed(found)
    if asked:
        asked.claim = found
    request.state.claim = found
    # Shielded: a client that hangs up leaves neither a half-kept answer nor a claim that nobody gives back.
    return await asyncio.shield(asyncio.ensure_future(_carried_out(request, answers, key, handle)))


async def _carried_out(request: Request, answers: Answers, key: str, handle: Handler) -> Response:
    try:
        answer = await handle(request)
    except (RequestValidationError, ValidationError):
        await run_in_threadpool(answers.forget, key)
        raise
    except Exception as error:
        problem = problem_of(error)
        if problem is None or problem.status >= _TRANSIENT_FROM or problem.status == 429:
            await _released(answers, key)
            raise
        if not isinstance(error, RefusedError | ProblemError):
            await run_in_threadpool(answers.forget, key)
            raise
        answer = response(request, problem)
    if answer.status_code == 202:
        await _released(answers, key)  # not definite yet: the same key asks again
        return answer
    headers = {name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS}
    await run_in_threadpool(answers.keep, key, Answer(answer.status_code, headers, bytes(answer.body)))
    return answer


async def _released(answers: Answers, key: str) -> None:
    try:
        await run_in_threadpool(answers.release, key)
    except Exception as error:  # noqa: BLE001 - the database is away: the lease ends by itself
        log.warning("the claim of a request ends with its lease", error=type(error).__name__)


async def _claimed(answers: Answers, key: str, fingerprint: str, path: str) -> Claim | Answer:
    """Claim the key, waiting a while for whoever has it. Raises ``ProblemError`` (409, 422)."""
    give_up = asyncio.get_running_loop().time() + _WAIT_SECONDS
    wait = _LOOK_AGAIN_SECONDS
    while True:
        found = await run_in_threadpool(answers.claim, key, fingerprint, path)
        if found == "reused":
            raise ProblemError(
                422,
                "this Idempotency-Key was used for a different request: use a new key for a new request",
                "idempotency_key_reused",
            )
        if found != "running":
            return found
        if asyncio.get_running_loop().time() > give_up:
            raise ProblemError(
                409,
                "the first request with this Idempotency-Key is still being carried out: ask again soon",
                "idempotency_in_progress",
                headers={"Retry-After": "1"},
            )
        await asyncio.sleep(wait)
        wait = min(wait * 2, _LONGEST_LOOK_SECONDS)


def _replayed(answer: Answer) -> Response:
    return Response(answer.body, answer.status, {**answer.headers, "Idempotent-Replayed": "true"})


async def _admitted(request: Request) -> Asked:
    to: Collaborators = request.app.state.holdfast
    principal = await run_in_threadpool(authenticate, to.engine, request)
    to.limiter.admit(principal.key)
    structlog.contextvars.bind_contextvars(tenant=principal.tenant, key=principal.key)
    asked = Asked(
        principal=principal,
        engine=for_tenant(to.engine, principal.tenant),
        sender=to.sender(principal.tenant),
        keyring=to.keyring,
        origin=Origin(
            ip=request.client.host[:45] if request.client else None,
            user_agent=printable(request.headers.get("User-Agent"), 200),
        ),
        request_id=request.state.request_id,
        metrics=to.metrics,
    )
    request.state.asked = asked
    return asked


def required_key(request: Request) -> str:
    """The request's Idempotency-Key. Raises ``ProblemError`` (400) without one, or for one that cannot be taken."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        raise ProblemError(
            400,
            "a request that changes something needs the header Idempotency-Key, unique to it, such as a UUID",
            "idempotency_key_required",
        )
    if not KEY.fullmatch(key):
        raise ProblemError(
            400, "Idempotency-Key: expected 1 to 150 visible ASCII characters, not beginning with ~", "malformed"
        )
    return key


def _fingerprint(request: Request, actor: str, body: bytes) -> str:
    """What makes two requests the same: method, path, who acts, the version expected, and the body as JSON."""
    try:
        said: object = json.dumps(json.loads(body), sort_keys=True) if body else ""
    except (ValueError, RecursionError):
        said = body.hex()
    parts = [request.method, request.url.path, request.url.query, actor, request.headers.get("If-Match", ""), said]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
