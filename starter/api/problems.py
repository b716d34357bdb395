"""Errors as ``application/problem+json`` (RFC 9457): one place turns refusals and failures into answers.

No exception text ever leaves the server: what a person reads here was written for people.
"""

from collections.abc import Mapping
from typing import Any, Final

import psycopg
import sqlalchemy.exc
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from temporalio.service import RPCError

from ledger.keyring import UnknownKeyError
from models.errors import ErrorCode, Refusal, RefusedError
from models.forms import why
from starter.arrival import OutcomeUnknownError, not_sent

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
_TOLD: Final = 10

_TITLES: Final = {
    400: "The request cannot be read",
    401: "The credentials are not accepted",
    402: "A payment is required",
    403: "Not allowed",
    404: "Not found",
    405: "Not this method",
    408: "The request took too long to arrive",
    409: "In conflict with the state of things",
    410: "Forgotten",
    413: "The request is too large",
    415: "Not this media type",
    422: "The request cannot be carried out",
    429: "Too many requests",
    500: "A mistake of ours",
    503: "Unavailable for now",
}
# Codes of the API alone; those of the rules are ``models.errors.ErrorCode``.
_CODES: Final = {
    400: "malformed", 401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed",
    408: "timeout", 410: "forgotten",
    413: "too_large", 415: "unsupported_media_type", 422: "invalid_request", 429: "rate_limited", 503: "unavailable",
}  # fmt: skip

_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

log = structlog.get_logger(__name__)


class Problem(BaseModel):
    """What went wrong. ``code`` is stable; further members depend on it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:holdfast:problem:invalid_transition",
                "title": "In conflict with the state of things",
                "status": 409,
                "detail": "approve_milestone is not possible while milestone 1 is pending; allowed now: cancel",
                "instance": "/v1/milestones/mil_01jd3v6k9q4m8n2p5r7s0t1w3x/approve",
                "code": "invalid_transition",
                "request_id": "req_01jd3v6k9q4m8n2p5r7s0t1w3x",
                "state": "in_progress",
                "event": "approve_milestone",
                "allowed": ["submit_milestone", "complete", "dispute", "cancel"],
            }
        },
    )

    type: str = Field(description="A URI that names the kind of problem.")
    title: str
    status: int
    detail: str = Field(description="What was wrong and what is allowed, for people.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="The kind of problem, for programs.")
    request_id: str


class ProblemError(Exception):
    """An answer of the API itself, that is no refusal of the rules."""

    def __init__(
        self,
        status: int,
        detail: str,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.code = code or _CODES[status]
        self.headers = dict(headers or {})
        self.members = members


def unavailable(what: str) -> ProblemError:
    """503 with ``Retry-After``: nothing was half done, the same request may be sent again."""
    detail = f"{what} cannot be reached for the moment; nothing was half done: send the same request again"
    return ProblemError(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def response(request: Request, problem: ProblemError) -> JSONResponse:
    """The answer for a problem."""
    body = problem.members | {
        "type": f"urn:holdfast:problem:{problem.code}",
        "title": _TITLES.get(problem.status, "The request failed"),
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
        "code": problem.code,
        "request_id": getattr(request.state, "request_id", ""),
    }
    return JSONResponse(body, problem.status, problem.headers, MEDIA_TYPE)


def problem_of(error: Exception) -> ProblemError | None:
    """The problem that an exception stands for; None for a mistake of ours."""
    match error:
        case ProblemError():
            return error
        case RefusedError():
            return of_refusal(error.refusal)
        case RequestValidationError():
            return _invalid(list(error.errors()))
        case ValidationError():
            return _invalid([{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False)])
        case HTTPException():
            return _of_http(error)
        case sqlalchemy.exc.OperationalError() | sqlalchemy.exc.TimeoutError() | psycopg.OperationalError():
            return unavailable("the database")
        case sqlalchemy.exc.DBAPIError() if error.connection_invalidated:
            return unavailable("the database")
        case OutcomeUnknownError() | RPCError() if not_reached(error):
            database = isinstance(error.__cause__, sqlalchemy.exc.OperationalError | psycopg.OperationalError)
            return unavailable("the database" if database else "the orchestrator")
        case OutcomeUnknownError():
            detail = "the outcome is not known yet: send the same request again, with the same Idempotency-Key"
            return ProblemError(503, detail, headers={"Retry-After": str(RETRY_SECONDS)})
        case UnknownKeyError():  # in the middle of a rotation: this process has not been given the key yet
            return unavailable("what this is encrypted with")
        case _:
            return None


def of_refusal(refusal: Refusal) -> ProblemError:
    """A refusal of the rules with its members. An internal error says nothing about itself."""
    kind = refusal.kind
    if kind is ErrorCode.INTERNAL_ERROR:
        return internal()
    return ProblemError(kind.status, refusal.message, kind.code, **refusal.details)


def internal() -> ProblemError:
    """A mistake of ours."""
    return ProblemError(500, "something went wrong on our side; the log has it under the request id", "internal_error")


def not_reached(error: Exception) -> bool:
    """Whether what was asked for certainly never left us, as opposed to its outcome being unknown."""
    return not error.sent if isinstance(error, OutcomeUnknownError) else not_sent(error)


def install(app: FastAPI) -> None:
    """Have every error answered as a problem."""

    def answer(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem is None or problem.status == 500:
            log.error("request failed", path=request.url.path, exc_info=error)
            problem = internal()
        if problem.status == 405:
            problem.headers["Allow"] = _allowed(request)
        return response(request, problem)

    for kind in (
        ProblemError, RefusedError, RequestValidationError, ValidationError, HTTPException, OutcomeUnknownError,
        RPCError, sqlalchemy.exc.SQLAlchemyError, psycopg.Error, Exception,
    ):  # fmt: skip
        app.add_exception_handler(kind, answer)


def _allowed(request: Request) -> str:
    """All methods that the path takes: each has a route of its own, and the router names those of the first alone."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    routes: list[BaseRoute] = request.app.routes
    taken = (name for name, scope in scopes.items() if any(one.matches(scope)[0] == Match.FULL for one in routes))
    return ", ".join(taken)


def _invalid(errors: list[Any]) -> ProblemError:
    """Where the request is wrong, and what is allowed there; unreadable JSON is malformed, the rest unprocessable."""
    if any(one["type"] == "json_invalid" for one in errors):
        return ProblemError(400, "the body is not JSON", "malformed")
    told = [{"at": _place(one["loc"]), "problem": _why(one)} for one in errors[:_TOLD]]
    detail = "; ".join(f"{one['at']}: {one['problem']}" for one in told)
    return ProblemError(422, detail, "invalid_request", errors=told)


def _place(loc: tuple[Any, ...]) -> str:
    where = [str(part) for part in loc if part not in {"body", "query", "path", "header"}]
    return ".".join(where)[:200] or str(loc[0] if loc else "body")


def _why(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return why(error)[:300]


def _of_http(error: HTTPException) -> ProblemError:
    status = error.status_code
    details = {
        400: "the body is not JSON",
        404: "there is nothing here",
        405: "this path does not take this method",
    }
    code = _CODES.get(status, "malformed")
    return ProblemError(status, details.get(status, "the request failed"), code, headers=error.headers)
