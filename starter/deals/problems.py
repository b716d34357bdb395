"""What is wrong with a part of a deal file, in words for the person who wrote it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from models import forms
from models.exchange import MOST_RATE, Rate
from models.forms import why
from starter.deals.deal_text import Problem, Source, Where, quoted

_OUT_OF_RANGE: Final = frozenset({"less_than_equal", "greater_than_equal"})
# As pydantic tells them. They are wider than those of what may be written down (LEAST_RATE, MOST_RATE).
_RATE_LIMITS: Final = frozenset(
    repr(getattr(limit, side))
    for limit in Rate.model_fields["rate"].metadata
    for side in ("ge", "le")
    if hasattr(limit, side)
)
_EXPECTED: Final = {
    "string_type": "text",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "list_type": "a list",
    "tuple_type": "a list",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "date_type": "a date such as 2026-06-15",
    "date_parsing": "a date such as 2026-06-15",
    "date_from_datetime_parsing": "a date such as 2026-06-15",
    "date_from_datetime_inexact": "a date such as 2026-06-15",
}


def explain(source: Source, error: ValidationError, start: Where) -> list[Problem]:
    """Say what is wrong with the part of a file that begins at ``start``, once per place."""
    problems: dict[tuple[int | None, int | None], Problem] = {}
    for detail in error.errors(include_url=False):
        problem = _explain_one(source, detail, start)
        problems.setdefault((problem.line, problem.column), problem)
    return list(problems.values())


def _explain_one(source: Source, detail: ErrorDetails, start: Where) -> Problem:
    where = (*start, *detail["loc"])
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "unknown_key":
            return unknown_key(source, where, context["key"], context["allowed"])
        case "missing":
            return source.problem(where, f"missing key {detail['loc'][-1]!r}")
    if where and where[-1] == "[key]":
        return source.problem(where[:-1], f"{quoted(where[-2])}: {_wording(detail, context)}", at_key=True)
    name = next((f"{step}: " for step in reversed(where) if isinstance(step, str) and where in source.places), "")
    return source.problem(where, name + _wording(detail, context))


def _wording(detail: ErrorDetails, context: Mapping[str, Any]) -> str:
    kind, found = detail["type"], _found(detail["input"])
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, found {found}"
    if kind == "literal_error":
        return f"expected {context['expected']}, found {found}"
    limit = context.get("le", context.get("ge"))
    if kind in _OUT_OF_RANGE and limit in {Decimal(0), Decimal(1)}:
        return f'expected a share from 0 to 1, such as "0.70", found {found}'
    if kind in _OUT_OF_RANGE and limit in _RATE_LIMITS:
        return (
            "a rate is above 0" if kind == "greater_than_equal" else f"a rate is at most {MOST_RATE:f}, found {found}"
        )
    if kind == "string_pattern_mismatch" and context["pattern"] == forms.PARTY:
        return "expected letters, digits and . _ : -; no e-mail address"
    if kind == "string_pattern_mismatch":
        return f"{why(detail)}, found {found}"
    if kind == "value_error":
        return f"{context['error']}{_percentage(detail['input'])}"
    message = detail["msg"]
    return f"{found}: {message[0].lower()}{message[1:]}"


def _percentage(value: Any) -> str:
    """For people who think of rates in percent: ``: 8 % is "0.08"``."""
    if not isinstance(value, str) or not value.rstrip().endswith("%"):
        return ""
    number = value.rstrip().removesuffix("%").strip()
    try:
        return f': {number} % is "{Decimal(number) / 100:f}"'
    except ArithmeticError:
        return ""


def unknown_key(source: Source, where: Where, key: str, allowed: Iterable[str]) -> Problem:
    """A key that means nothing where it stands."""
    allowed = list(allowed)
    message = f"unknown key {quoted(key)}{suggestion(key, allowed)}; allowed here: {', '.join(allowed)}"
    return source.problem((*where, key), message, at_key=True)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A question whether the word that comes closest was meant; nothing when none does."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Decimal):
        return str(value)
    return "a list" if isinstance(value, list | tuple) else "a mapping"
