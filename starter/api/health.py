"""What machines ask an API process: whether it lives, whether it can work, and its metrics. Outside of ``/v1``.

None of them asks who is asking, so none costs more when it is asked more: the answers are kept for a moment.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from ledger.figures import NEEDED_REVISION, schema_revision
from starter.api import problems
from starter.api.figures import Figures
from starter.api.kept import Kept
from starter.api.metrics import CONTENT_TYPE, Metrics
from starter.api.problems import ProblemError

_WITHIN_SECONDS: Final = 1.0
_KEEP_SECONDS: Final = 1.0
_NOBODY: Final = "no connection to it yet"


class NotReadyError(Exception):
    """A server answers, and cannot be worked with all the same; the message says why."""


class Health:
    """The checks of one process. ``engine`` is for these questions alone, so that busy requests do not fail them.

    ``client`` answers the connection to Temporal, or None while there is none. Belongs to one event loop.
    """

    def __init__(
        self, engine: Engine, client: Callable[[], Client | None], metrics: Metrics, figures: Figures | None = None
    ) -> None:
        self._engine = engine
        self._client = client
        self.metrics = metrics
        self.figures = figures or Figures(engine)
        metrics.registry.register(self.figures)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._postgres = Kept("PostgreSQL", self._ask_postgres, keep_seconds=_KEEP_SECONDS)
        self._temporal = Kept("Temporal", self._ask_temporal, keep_seconds=_KEEP_SECONDS)

    async def missing(self) -> dict[str, str]:
        """The servers that cannot be worked with, each with why, in words that may leave the process."""
        postgres, temporal = await asyncio.gather(
            self._postgres.refresh(_WITHIN_SECONDS), self._temporal.refresh(_WITHIN_SECONDS)
        )
        self.metrics.postgres_up.set(postgres)
        self.metrics.temporal_up.set(temporal)
        checks = ((self._postgres, postgres), (self._temporal, temporal))
        return {check.name: _why(check.failure) for check, up in checks if not up}

    async def scrape(self) -> bytes:
        """Every metric. What PostgreSQL would have to tell is missing while it is away."""
        missing, _ = await asyncio.gather(self.missing(), self.figures.refresh())
        self.figures.away = self._postgres.name in missing
        return self.metrics.render()

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.figures.close()

    async def _ask_postgres(self) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, schema_revision, self._engine)
        except ProgrammingError as error:  # there is no such table, or not for us
            raise NotReadyError("its schema is none that this version knows: run the migrations") from error
        # A newer schema is what a process of before sees while the next version is rolled out.
        if found is None or found < NEEDED_REVISION:
            raise NotReadyError(f"its schema is at revision {found or 'none'}, and {NEEDED_REVISION} is needed")

    async def _ask_temporal(self) -> None:
        client = self._client()
        if client is None:
            raise NotReadyError(_NOBODY)
        limit = timedelta(seconds=_WITHIN_SECONDS)
        await client.workflow_service.get_system_info(GetSystemInfoRequest(), retry=False, timeout=limit)


router: Final = APIRouter(tags=["operations"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """The process lives. It depends on nothing: a process is not restarted because a server of its is away."""
    return {"status": "ok"}


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Whether the process can work",
    responses={
        503: {
            "description": "PostgreSQL or Temporal cannot be worked with: `missing` has its name.",
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    },
)
async def readyz(request: Request) -> dict[str, str]:
    """PostgreSQL answers with a schema that fits, and Temporal answers, each within a second."""
    if missing := await _health(request).missing():
        raise _not_ready(missing)
    return {"status": "ok"}


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=PlainTextResponse,
    responses={200: {"description": "What this process measures, and figures over all tenants."}},
)
async def metrics(request: Request) -> Response:
    """What this process measures, and figures over all tenants that PostgreSQL answers."""
    return Response(await _health(request).scrape(), media_type=CONTENT_TYPE)


def _health(request: Request) -> Health:
    """What the application keeps in ``app.state.health``."""
    health: Health = request.app.state.health
    return health


def _not_ready(missing: dict[str, str]) -> ProblemError:
    detail = "; ".join(f"{name}: {why}" for name, why in missing.items())
    headers = {"Retry-After": str(problems.RETRY_SECONDS)}
    return ProblemError(503, f"not ready: {detail}", headers=headers, missing=sorted(missing))


def _why(error: Exception | None) -> str:
    if isinstance(error, NotReadyError):
        return str(error)
    return "it cannot be reached" if error else f"no answer within {_WITHIN_SECONDS:g} s"
