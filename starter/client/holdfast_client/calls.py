"""Sending: one request under one Idempotency-Key, tried again for as long as nobody knows its outcome."""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import TypeAdapter
from pydantic_core import to_json

from holdfast_client.errors import HoldfastError, UnavailableError, error_of
from holdfast_client.listing import Listing, Page

Answer = TypeVar("Answer")

_TRANSIENT: Final = frozenset({202, 429, 502, 503, 504})
_FIRST_WAIT_SECONDS: Final = 0.1
_LONGEST_WAIT_SECONDS: Final = 5.0


class Once(TypedDict, total=False):
    """How something is sent. ``key``: its Idempotency-Key; without one it gets one of its own."""

    key: str


class Command(Once, total=False):
    """How a command is sent. ``expected_version``: the escrow's version on which it is based."""

    expected_version: int


@dataclass(frozen=True)
class Calls:
    """Sends requests to one service with one key, for the platform itself or for an actor."""

    http: httpx.Client
    url: str
    credentials: str = field(repr=False)
    time_limit: timedelta
    actor: str | None = None

    def acting_for(self, actor: str) -> Self:
        """The same for an actor."""
        return replace(self, actor=actor)

    def get(self, kind: type[Answer], path: str, *parts: str, **query: Any) -> Answer:
        """Read something. What is None is not asked for."""
        return _read(kind, self._settled("GET", path, parts, query=query))

    def text(self, path: str, *parts: str, **query: Any) -> str:
        """Read something that is a text."""
        return self._settled("GET", path, parts, query=query).text

    def listing(self, kind: type[Answer], path: str, *parts: str, after: str = "id", **query: Any) -> Listing[Answer]:
        """A list; ``after`` is the field of the last one after which its next part begins."""

        def fetch(limit: int | None, starting_after: str | None) -> Page[Answer]:
            asked = query | {"limit": limit, "starting_after": starting_after}
            return _read(Page[kind], self._settled("GET", path, parts, query=asked))  # type: ignore[valid-type]

        return Listing(fetch, after)

    def post(
        self, kind: type[Answer], path: str, *parts: str, body: Mapping[str, Any] | None = None, **how: Unpack[Command]
    ) -> Answer:
        """Have something done. What is None in the body is left out."""
        return _read(kind, self._settled("POST", path, parts, body, **how))

    def put(
        self, kind: type[Answer], path: str, *parts: str, body: Mapping[str, Any], **how: Unpack[Command]
    ) -> Answer:
        """Have something written."""
        return _read(kind, self._settled("PUT", path, parts, body, **how))

    def patch(
        self, kind: type[Answer], path: str, *parts: str, body: Mapping[str, Any], **how: Unpack[Command]
    ) -> Answer:
        """Have something changed."""
        return _read(kind, self._settled("PATCH", path, parts, body, **how))

    def delete(self, path: str, *parts: str, **how: Unpack[Once]) -> None:
        """Have something removed."""
        self._settled("DELETE", path, parts, **how)

    def _settled(
        self,
        method: str,
        path: str,
        parts: tuple[str, ...],
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        key: str | None = None,
        expected_version: int | None = None,
    ) -> httpx.Response:
        """The definite answer to a request. Raises ``HoldfastError`` for one that is no success."""
        headers = {"Authorization": f"Bearer {self.credentials}"}
        if method != "GET":
            key = headers["Idempotency-Key"] = str(uuid4()) if key is None else key
        if self.actor is not None:
            headers["Holdfast-Actor"] = self.actor
        if expected_version is not None:
            headers["If-Match"] = f'"{expected_version}"'
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = to_json(_written(_given(body)))
        request = self.http.build_request(
            method, self.url + _filled(path, parts), params=_given(query or {}), content=content, headers=headers
        )
        return self._persist(request, key)

    def _persist(self, request: httpx.Request, key: str | None) -> httpx.Response:
        give_up = time.monotonic() + self.time_limit.total_seconds()
        wait = _FIRST_WAIT_SECONDS
        while True:
            answer, failure = self._tried(request, key)
            if failure is None:
                return answer
            # Half of it at random, so that those who were turned away together do not come back together.
            pause = max(wait * random.uniform(0.5, 1), _retry_after(answer))  # noqa: S311 - no secret
            if not _is_transient(failure) or time.monotonic() + pause > give_up:
                raise failure
            time.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _tried(self, request: httpx.Request, key: str | None) -> tuple[httpx.Response, HoldfastError | None]:
        """What came of one attempt; whatever is no definite success is a failure."""
        try:
            answer = self.http.send(request)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
            raise  # wrong as it stands: nothing was sent
        except httpx.TransportError as error:
            detail = f"no answer from {self.url}: {error or type(error).__name__}"
            return httpx.Response(503), UnavailableError(0, "no_answer", detail, key=key)
        if answer.is_success and answer.status_code not in _TRANSIENT:
            return answer, None
        return answer, error_of(answer.status_code, _problem(answer), key)


def _is_transient(failure: HoldfastError) -> bool:
    return failure.status in {0, *_TRANSIENT} or failure.code == "idempotency_in_progress"


def _filled(path: str, parts: tuple[str, ...]) -> str:
    """The path with its ids. Raises ``ValueError`` for one that would lead to another path."""
    if wrong := [part for part in parts if part in {"", ".", ".."}]:
        raise ValueError(f"{wrong[0]!r} is no id")
    return path.format(*(quote(part, safe="") for part in parts))


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _written(value: Any) -> Any:
    """Durations in days and seconds: left to pydantic, 366 days would be P1Y1D, and a year is no fixed time."""
    match value:
        case timedelta():
            return f"P{value.days}D" + (f"T{value.seconds}S" if value.seconds else "")
        case Mapping():
            return {name: _written(one) for name, one in value.items()}
        case list() | tuple():
            return [_written(one) for one in value]
        case _:
            return value


def _read(kind: type[Answer], answer: httpx.Response) -> Answer:
    return TypeAdapter(kind).validate_json(answer.content)


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    """The problem document; nothing where something else came, such as a proxy's page."""
    try:
        said = json.loads(answer.content)
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    if answer.status_code == httpx.codes.ACCEPTED:
        return {"code": "outcome_unknown", "detail": "the outcome could not be learned in time"} | said
    return said


def _retry_after(answer: httpx.Response) -> float:
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else 0.0
