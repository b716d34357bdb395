"""Every route: who asks, how often they may, and that what changes something happens once per Idempotency-Key.

Success and definite refusals are kept and answered again; what is transient is not. Source: http-contract.md, "Habits".
"""

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from math import ceil
from time import time
from typing import Any, Final, Protocol

import structlog
from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from pydantic import ValidationError
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from ledger.answers import LEASE, Answer, Answers, Claim
from ledger.engine import for_tenant
from ledger.keyring import Keyring
from models import ids
from models.commands import Origin
from models.errors import RefusedError
from models.fields import printable
from starter.api.json_bodies import refuse_ambiguous
from starter.api.metrics import Metrics
from starter.api.principals import Principal, authenticate
from starter.api.problems import ProblemError, problem_of, response
from starter.sender import Sender

# Those of the system begin with ~, and those of end users, as they are kept, with @ and whose they are.
KEY: Final = re.compile(r"[\x21-\x3f\x41-\x7d][\x21-\x7e]{0,149}")
_JSON: Final = re.compile(r"application/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_KEPT_HEADERS: Final = frozenset({"etag", "location", "content-type"})
# For how long one that comes second waits for the first; then it is told that the first is still running.
_WAIT_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_LONGEST_LOOK_SECONDS: Final = 0.4
_BURST_SECONDS: Final = 5
_PRINCIPALS: Final = 10  # as many of a tenant may be busy at a time; more of them share
# A client that went away does not end what it began.
_TRANSIENT_FROM: Final = 500

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
log = structlog.get_logger(__name__)


class Limiter:
    """How many requests one principal may make, and all of a tenant together, per process and over a few seconds."""

    def __init__(self, per_second: float) -> None:
        each = max(1, round(per_second * _BURST_SECONDS))
        self._each = RateLimitItemPerSecond(each, _BURST_SECONDS)
        self._all = RateLimitItemPerSecond(each * _PRINCIPALS, _BURST_SECONDS)
        self._window = SlidingWindowCounterRateLimiter(MemoryStorage())

    def admit(self, who: str, tenant: str | None = None) -> None:
        """Raise ``ProblemError`` (429) with ``Retry-After`` when it is too much."""
        self._count(self._each, who)
        if tenant is not None:
            self._count(self._all, tenant)

    def _count(self, limit: RateLimitItem, who: str) -> None:
        if not self._window.hit(limit, who):
            free_in = max(1, ceil(self._window.get_window_stats(limit, who).reset_time - time()))
            raise ProblemError(
                429,
                f"at most {limit.amount} requests in {_BURST_SECONDS} seconds: wait before the next one",
                headers={"Retry-After": str(min(free_in, _BURST_SECONDS))},
            )


class Collaborators(Protocol):
    """What the application keeps for its routes in ``app.state.holdfast``."""

    engine: Engine
    doors: Engine
    keyring: Keyring
    limiter: Limiter
    bootstrap_secret: str | None
    metrics: Metrics
    moves_real_money: bool

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
    changes = True

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()
        declared = {one.alias for one in get_flat_params(self.dependant) if isinstance(one.field_info, Query)}

        async def handler(request: Request) -> Response:
            asked = await _admitted(request)
            _refuse_unknown(request, declared)
            if request.method not in _CHANGES or not self.changes:
                await _json_body(request)
                return await handle(request)
            if asked.principal.role == "read_only":
                raise ProblemError(403, "this key may only read")
            if "\x00" in request.scope["path"]:  # it is written down with the claim, and PostgreSQL would not take it
                raise ProblemError(404, "there is nothing here")
            own = None if self.key_required or "Idempotency-Key" in request.headers else _unique()
            asked.key = asked.principal.scope + (own or required_key(request))
            asked.answers = Answers(asked.engine, asked.tenant, asked.keyring)
            return await once(request, asked.answers, asked.key, handle, asked)

        return handler


class KeylessRoute(OnceRoute):
    """Paths of documents that know no Idempotency-Key: it may be given; without one a request stands for itself."""

    key_required = False


class ReadRoute(OnceRoute):
    """A question that needs a body: it changes nothing, so it is asked without an Idempotency-Key."""

    changes = False


def _refuse_unknown(request: Request, declared: Collection[str]) -> None:
    """Raise 422 for a query parameter that the route does not have: a misspelt filter would answer everything."""
    unknown = [name for name in request.query_params if name not in declared]
    if unknown:
        there_are = f"there are {', '.join(sorted(declared))}" if declared else "this path takes none"
        name = printable(unknown[0], 100)
        detail = f"there is no query parameter {name!r}: {there_are}"
        raise ProblemError(422, detail, errors=[{"at": name, "problem": "there is no such query parameter"}])


async def once(request: Request, answers: Answers, key: str, handle: Handler, asked: Asked | None) -> Response:
    """Carry a request out unless its answer is known; keep the answer if it is definite."""
    body = await _json_body(request)
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
    alive = asyncio.ensure_future(_kept_alive(answers, key))
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
        if not isinstance(error, RefusedError | ProblemError) or _wrong_as_such(problem):
            await run_in_threadpool(answers.forget, key)
            raise
        answer = response(request, problem)
    finally:
        alive.cancel()
    if answer.status_code == 202:
        await _released(answers, key)  # not definite yet: the same key asks again
        return answer
    headers = {name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS}
    ours = Answer(answer.status_code, headers, bytes(answer.body))
    kept = await run_in_threadpool(answers.keep, key, ours)
    return answer if kept is ours else _replayed(kept)


def _wrong_as_such(problem: ProblemError) -> bool:
    """Whether it was no request at all, so that its key may still stand for one."""
    return problem.status in {400, 415} or problem.code in {"invalid_request", "url_not_allowed"}


async def _kept_alive(answers: Answers, key: str) -> None:
    """Renew the lease for as long as the request takes, so that a process that dies is noticed soon."""
    while True:
        await asyncio.sleep(LEASE.total_seconds() / 3)
        try:
            await run_in_threadpool(answers.renew, key)
        except Exception as error:  # noqa: BLE001 - the database is away: the lease may end, which is harmless
            log.warning("the lease of a request was not renewed", error=type(error).__name__)


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
    principal = await run_in_threadpool(authenticate, to.doors, request)
    to.limiter.admit(principal.key, principal.tenant)
    if principal.mode == "test" and to.moves_real_money:
        raise ProblemError(403, "this deployment moves real money: it takes live keys only")
    structlog.contextvars.bind_contextvars(tenant=principal.tenant, key=principal.key)
    asked = Asked(
        principal=principal,
        engine=for_tenant(to.engine, principal.tenant),
        sender=to.sender(principal.tenant),
        keyring=to.keyring,
        origin=Origin(
            ip=_address(request),
            user_agent=printable(request.headers.get("User-Agent"), 200),
        ),
        request_id=request.state.request_id,
        metrics=to.metrics,
    )
    request.state.asked = asked
    return asked


async def _json_body(request: Request) -> bytes:
    """The body, if there is one.

    Raises ``ProblemError``: 415 for one that does not say that it is JSON, 400 for JSON that can be read in two ways.
    """
    body = await request.body()
    if body and not _JSON.fullmatch(request.headers.get("Content-Type", "")):
        raise ProblemError(415, "a body has to be JSON, sent with the header `Content-Type: application/json`")
    refuse_ambiguous(body)
    return body


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
            400, "Idempotency-Key: expected 1 to 150 visible ASCII characters, not beginning with ~ or @", "malformed"
        )
    return key


def _address(request: Request) -> str | None:
    """From where, if it is an address: behind some servers it is a name, or nothing."""
    try:
        return str(ip_address(request.client.host.partition("%")[0])) if request.client else None
    except ValueError:
        return None


def _unique() -> str:
    """A key for a request that stands for itself."""
    return ids.make("req", datetime.now(UTC), secrets.token_bytes(10))


def _fingerprint(request: Request, actor: str, body: bytes) -> str:
    """What makes two requests the same: method, path, who acts, the version expected, and the body as JSON."""
    try:
        said: object = json.dumps(json.loads(body), sort_keys=True) if body else ""
    except (ValueError, RecursionError):
        said = body.hex()
    parts = [request.method, request.url.path, request.url.query, actor, request.headers.get("If-Match", ""), said]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
