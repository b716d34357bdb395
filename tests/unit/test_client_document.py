"""The Python client says what the OpenAPI document says: every operation and every field, in both directions."""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import httpx
import pytest
from fastapi import FastAPI
from holdfast_client.client import Holdfast
from holdfast_client.errors import HoldfastError
from holdfast_client.listing import Listing
from pydantic import BaseModel

from models import durations
from starter.api import openapi
from starter.api.app import ROUTERS
from tests.unit.source import sources
from tests.unit.test_architecture import OURS, report, top

# Operations that the client has no method for, each with its reason.
LEFT_OUT: Final = {
    "GET /healthz": "asked by machines that watch processes",
    "GET /readyz": "asked by machines that watch processes",
    "GET /metrics": "asked by Prometheus",
    "POST /v1/gateways/{name}/webhook": "sent by payment providers",
    "GET /api/projects/{escrow}/milestones/": "the feature document's names for get_escrow",
    "GET /api/projects/milestones/{milestone}/": "the feature document's names for get_milestone",
    "PUT /api/projects/milestones/{milestone}/": "the same for change_milestone and submit_milestone",
    "POST /api/projects/milestones/{milestone}/approve/": "the same for approve_milestone",
    "POST /api/v1/wallet/topup": "the spend-policy document's name for top_up",
}
# Methods that take a whole document, whose fields are no parameters of theirs.
WHOLE: Final = {"write_policy"}
# A question: a key does no harm, and means nothing.
NEEDS_NO_KEY: Final = {"POST /v1/fee-quotes"}
_NO_OPERATIONS: Final = {"acting_for", "close"}
# What a type of the document may be read as. Words are dates and decimals where they are some.
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str, datetime, date, timedelta, Decimal), "integer": (int,), "boolean": (bool,), "array": (list,),
    "object": (dict, BaseModel),
}  # fmt: skip


@dataclass
class Noted(httpx.BaseTransport):
    """Takes requests as a network would, and answers that there is nothing."""

    requests: list[httpx.Request] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Note it."""
        self.requests.append(request)
        return httpx.Response(404, json={"code": "not_found", "detail": "nothing is here"})


@dataclass(frozen=True)
class Call:
    """What a method asks for when all that it takes is given, and what it takes for the answer."""

    method: str
    request: httpx.Request
    answer: Any
    required: frozenset[str]

    @property
    def operation(self) -> str:
        """The document's operation: the path as it stands there, or the one that has it with other ids."""
        verb, path = self.request.method, self.request.url.path
        ways = [
            known
            for known in operations()
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(known)), f"{verb} {path}")
        ]
        return min(ways, key=lambda known: known.count("{"), default=f"{verb} {path}")

    @property
    def body(self) -> Any:
        """The JSON that is sent, if any is."""
        return json.loads(self.request.content) if self.request.content else None


@cache
def document() -> Any:
    """The OpenAPI document, without a server."""
    app = FastAPI()
    openapi.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app.openapi()


@cache
def operations() -> dict[str, Any]:
    """Every operation by its verb and path: ``GET /v1/escrows/{escrow}``."""
    paths: dict[str, dict[str, Any]] = document()["paths"]
    return {f"{verb.upper()} {path}": what for path, verbs in paths.items() for verb, what in verbs.items()}


@cache
def calls() -> dict[str, list[Call]]:
    """What the client asks for, by operation."""
    found: dict[str, list[Call]] = {}
    for method in dir(Holdfast):
        if not method.startswith("_") and method not in _NO_OPERATIONS:
            for call in _calls(method):
                found.setdefault(call.operation, []).append(call)
    return found


def _calls(method: str) -> Iterator[Call]:
    """Once, or once for every word where a choice of words is a part of the path."""
    parameters = inspect.signature(getattr(Holdfast, method)).parameters
    hints = get_type_hints(getattr(Holdfast, method))
    answer, how = hints.pop("return"), hints.pop("how", None)
    hints |= get_type_hints(get_args(how)[0]) if how else {}
    needed = {name for name, one in parameters.items() if one.default is one.empty and one.kind is one.KEYWORD_ONLY}
    choice = next((name for name, kind in hints.items() if get_origin(kind) is Literal and name not in needed), None)
    for word in get_args(hints[choice]) if choice else (None,):
        given = {name: _something(kind) for name, kind in hints.items()} | ({choice: word} if choice else {})
        yield Call(method, _requested(method, given), answer, frozenset(needed))


def _requested(method: str, given: dict[str, Any]) -> httpx.Request:
    network = Noted()
    client = Holdfast("http://holdfast", "hf_test_key", http=httpx.Client(transport=network))
    with suppress(HoldfastError):  # that there is nothing
        listing = getattr(client, method)(**given)
        assert isinstance(listing, Listing), f"{method} asked for nothing"
        listing.page(limit=7, starting_after="esc_1")
    return network.requests[0]


def _something(kind: Any) -> Any:
    """A value of the type; of a document, with every field that it can have."""
    first = next(one for one in (get_args(kind) if get_origin(kind) in {Union, UnionType} else [kind]))
    if is_typeddict(first):
        return {name: _something(one) for name, one in get_type_hints(first).items()}
    if get_origin(first) is Literal:
        return get_args(first)[0]
    inner = get_args(first)
    if inner and len(inner) == 1:
        return [_something(inner[0])]
    simple = {str: "given", int: 7, bool: True, date: date(2026, 6, 15), timedelta: timedelta(days=14)}
    return simple.get(first, Decimal("0.5") if first is Decimal else {})


def _resolved(schema: Any) -> tuple[Any, bool]:
    """The schema that a reference or a choice with null leads to, and whether null is allowed."""
    if "$ref" in schema:
        return _resolved(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        rest = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return _resolved(rest[-1])[0], len(rest) < len(schema["anyOf"])
    return schema, False


def _answered(operation: str) -> dict[str, Any]:
    """The content of its success by media type."""
    responses = operations()[operation]["responses"]
    success = next(responses[status] for status in ("200", "201", "204") if status in responses)
    content: dict[str, Any] = success.get("content", {})
    return content


COVERED: Final = [name for name in operations() if name not in LEFT_OUT]


def test_every_operation_has_a_method_or_a_reason_why_not() -> None:
    """And no method asks for what is not there."""
    assert set(calls()) == set(COVERED)
    assert set(LEFT_OUT) < set(operations())


@pytest.mark.parametrize("operation", COVERED)
def test_every_parameter_of_an_operation_can_be_given_and_no_other(operation: str) -> None:
    """Filters and headers; one that is required has no default."""
    parameters = operations()[operation].get("parameters", [])
    query = {one["name"] for one in parameters if one["in"] == "query"}
    assert {name for call in calls()[operation] for name in call.request.url.params} == query
    headers = {one["name"] for one in parameters if one["in"] == "header"} - {"Holdfast-Actor"}
    for call in calls()[operation]:
        sent = {name for name in ("Idempotency-Key", "If-Match") if name in call.request.headers}
        assert sent - headers <= ({"Idempotency-Key"} if operation in NEEDS_NO_KEY else set())
        assert headers <= sent


@pytest.mark.parametrize("operation", COVERED)
def test_every_field_that_can_be_sent_is_a_parameter_and_the_required_ones_are(operation: str) -> None:
    """Down to the fields of milestones and evidence."""
    for call in calls()[operation]:
        if call.method in WHOLE:
            continue
        content = operations()[operation].get("requestBody", {}).get("content", {}).get("application/json")
        assert (content is None) == (call.body is None)
        if content is not None:
            schema, _ = _resolved(content["schema"])
            assert list(_unlike_body(call.body, schema, call.method)) == []
            required = set(schema.get("required", ()))
            assert required == call.required or required == set(call.body)


def _unlike_body(body: Any, schema: Any, at: str) -> Iterator[str]:
    if isinstance(body, list):
        yield from _unlike_body(body[0], _resolved(schema["items"])[0], at)
    elif isinstance(body, dict) and body and "properties" in schema:
        fields = schema["properties"]
        if set(body) != set(fields):
            yield f"{at}: {sorted(set(body) ^ set(fields))}"
        for name in set(body) & set(fields):
            yield from _unlike_body(body[name], _resolved(fields[name])[0], f"{at}.{name}")


@pytest.mark.parametrize("operation", COVERED)
def test_every_field_of_an_answer_is_in_its_model_with_its_type(operation: str) -> None:
    """And no model promises what the service does not send."""
    content = _answered(operation)
    for call in calls()[operation]:
        if call.answer in {str, NoneType}:
            assert (call.answer is NoneType) == (not content)
            assert not content or any(kind.startswith("text/") for kind in content)
            continue
        schema, _ = _resolved(content["application/json"]["schema"])
        if get_origin(call.answer) in {Listing, list}:
            schema, _ = _resolved(_resolved(schema["properties"]["data"])[0]["items"])
            assert list(_unlike(get_args(call.answer)[0], schema, call.method)) == []
        else:
            assert list(_unlike(call.answer, schema, call.method)) == []


def _unlike(kind: Any, schema: Any, at: str) -> Iterator[str]:
    """Where a type of the client is not that of the document."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        sent, read = schema.get("properties", {}), kind.model_fields
        if set(sent) != set(read):
            yield f"{at}: {sorted(set(sent) ^ set(read))}"
        for name in set(sent) & set(read):
            yield from _unlike_field(read[name].annotation, sent[name], f"{at}.{name}")
    elif not issubclass(get_origin(kind) or kind, _TYPES[schema["type"]]):
        yield f"{at}: {kind} for {schema['type']}"
    elif get_origin(kind) is list:
        yield from _unlike_field(get_args(kind)[0], schema["items"], f"{at}[]")


def _unlike_field(annotation: Any, schema: Any, at: str) -> Iterator[str]:
    found, may_be_null = _resolved(schema)
    optional = get_origin(annotation) in {Union, UnionType}
    if optional != may_be_null:
        yield f"{at}: null is {'' if may_be_null else 'not '}allowed"
    yield from _unlike(get_args(annotation)[0] if optional else annotation, found, at)


def test_durations_are_sent_in_days_and_seconds_since_the_service_takes_no_years() -> None:
    for given, sent in ((timedelta(days=366), "P366D"), (timedelta(hours=36), "P1DT43200S")):
        request = _requested("advance_clock", {"by": given})
        assert json.loads(request.content) == {"by": sent}
        assert durations.read(sent) == given


def test_the_client_stands_alone() -> None:
    """A marketplace installs it without our servers' code: it uses httpx, pydantic and the standard's library."""
    files = [one for one in sources("starter") if one.name.startswith("starter/client/")]
    assert len(files) > 10
    report(
        (
            f"{source.at(line)} imports {module}"
            for source in files
            for line, module in source.imports()
            if top(module) in OURS or "starter" in module
        ),
        "The client imports nothing of the repository:",
    )
