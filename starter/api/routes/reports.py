"""Reports from the ledger, the same as on the command line. Source: http-contract.md, "Routes"; docs/reports.md."""

import re
from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BeforeValidator
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from ledger.reports import By, Span
from starter.api.asking import Ask, not_for_parties
from starter.api.once import Asked, OnceRoute
from starter.api.problems import ProblemError
from starter.api.views import View
from starter.reports import sheets
from starter.reports.formats import as_csv, as_json
from starter.reports.sheet import Sheet

router = APIRouter(prefix="/v1/reports", route_class=OnceRoute, tags=["reports"])

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class CheckView(View):
    """A sum that has to agree with another one: the difference in minor units is zero."""

    says: str
    currency: str
    difference_minor: int


class ReportView(View):
    """A report of one's own books. In ``rows`` money stands in major units (a decimal string) and, as ``…_minor``, in
    minor units; ``ties`` says whether every check agrees."""

    report: str
    tenant: str
    by: By
    rows: list[dict[str, Any]]
    checks: list[CheckView]
    ties: bool


class Asking:
    """For which time, in which periods, in which form."""

    def __init__(self, start: date | None, end: date | None, by: By, form: Literal["json", "csv"]) -> None:
        if start and end and start >= end:
            raise ProblemError(
                422, f"from {start} has to be before to {end}, which is the first day that does not count"
            )
        self.span, self.form = Span(start, end, by), form
        days = {"from": start, "to": end}
        self.asked: dict[str, str] = {name: day.isoformat() for name, day in days.items() if day} | {"by": by}


def _day(text: Any) -> Any:
    """Not the numbers that pydantic would take for days as well."""
    if isinstance(text, str) and not _DAY.fullmatch(text):
        raise ValueError("write a day like 2026-06-30")
    return text


def _asking(
    start: Annotated[date | None, BeforeValidator(_day), Query(alias="from", description="The first day.")] = None,
    end: Annotated[
        date | None, BeforeValidator(_day), Query(alias="to", description="The first day that does not count.")
    ] = None,
    by: By = "total",
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Asking:
    return Asking(start, end, by, form)


For = Annotated[Asking, Depends(_asking)]
_CSV: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get("/liquidity", response_model=ReportView, responses=_CSV)
async def report_liquidity(asked: Ask, what: For) -> Response:
    """What is owed, what was earned and what is there, at the end of each period."""
    return await _reported(asked, what, sheets.liquidity)


@router.get("/trial-balance", response_model=ReportView, responses=_CSV)
async def report_trial_balance(asked: Ask, what: For) -> Response:
    """Every kind of account with its opening balance, debits, credits and closing balance."""
    return await _reported(asked, what, sheets.trial_balance)


@router.get("/fees", response_model=ReportView, responses=_CSV)
async def report_fees(asked: Ask, what: For) -> Response:
    """What the platform earned, less what it gave back."""
    return await _reported(asked, what, sheets.fees)


@router.get("/settlements", response_model=ReportView, responses=_CSV)
async def report_settlements(asked: Ask, what: For) -> Response:
    """What was settled, in the deals' currency and in the reporting currency."""
    return await _reported(asked, what, sheets.settlements)


async def _reported(asked: Asked, what: Asking, sheet: Callable[[Engine, str, Span], Sheet]) -> Response:
    not_for_parties(asked, "a report")
    found = await run_in_threadpool(sheet, asked.engine, asked.tenant, what.span)
    if what.form == "csv":
        return Response(as_csv(found), media_type="text/csv")
    return Response(as_json(found, {"tenant": asked.tenant, **what.asked}), media_type="application/json")
