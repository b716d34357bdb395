"""What one API process measures of itself: requests by route, commands by name. docs/observability.md lists it all.

No label has an id in it, and none comes from a caller: what is not known is one series.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.errors import RefusedError
from starter.api.problems import ProblemError, problem_of
from starter.arrival import OutcomeUnknownError

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_COMMAND_BUCKETS: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = Histogram(
            "holdfast_http_request_seconds",
            "How long requests took, by the template of their route.",
            ("method", "route", "status"),
            buckets=_REQUEST_BUCKETS,
            registry=self.registry,
        )
        self._commands = Counter(
            "holdfast_commands",
            "Commands that were asked for over HTTP, by what became of them.",
            ("name", "outcome"),
            registry=self.registry,
        )
        self._command_seconds = Histogram(
            "holdfast_command_seconds",
            "How long commands took from being sent to the escrow's workflow to their outcome.",
            ("name",),
            buckets=_COMMAND_BUCKETS,
            registry=self.registry,
        )
        self.postgres_up = Gauge(
            "holdfast_postgres_up", "Whether PostgreSQL answers, with a schema that fits.", registry=self.registry
        )
        self.temporal_up = Gauge("holdfast_temporal_up", "Whether Temporal answers.", registry=self.registry)

    @contextmanager
    def commanding(self, name: str) -> Iterator[None]:
        """Count and time what the block does for one command; what it raises tells the outcome, and passes on."""
        began, outcome = time.perf_counter(), "accepted"
        try:
            yield
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            self._commands.labels(name, outcome).inc()
            self._command_seconds.labels(name).observe(time.perf_counter() - began)

    def request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """One request that was answered; ``route`` is the template that it matched."""
        labels = (method if method in _METHODS else OTHER, route or OTHER, str(status))
        self._requests.labels(*labels).observe(seconds)

    def render(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)


class Timed:
    """ASGI middleware that times every request. A request that ends without an answer counts as 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, told)
        finally:
            route = getattr(scope.get("route"), "path", None)
            self._metrics.request(scope["method"], route, status, time.perf_counter() - began)


def _outcome(error: BaseException) -> str:
    """``accepted``, the code of the refusal or problem, ``unknown`` where nobody knows, ``failed`` for our mistakes."""
    if isinstance(error, RefusedError):
        return error.refusal.code
    if isinstance(error, ProblemError):
        return error.code
    problem = problem_of(error) if isinstance(error, Exception) else None
    if problem is not None:
        return problem.code
    return "unknown" if isinstance(error, OutcomeUnknownError) else "failed"
