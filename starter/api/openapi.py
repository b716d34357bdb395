"""The OpenAPI document: what FastAPI derives from the routes, and what holds for all of them."""

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from starter.api.examples import BODIES
from starter.api.problems import MEDIA_TYPE, Problem
from starter.api.vocabulary import (
    CODES,
    CURRENCIES,
    CURRENCY,
    HEADERS,
    IDS,
    NAMED,
    PARTIES,
    PATHS,
    STATUSES,
    Schema,
    identifier,
)

_CHANGES: Final = {"post", "put", "patch", "delete"}
_QUESTIONS: Final = {"/v1/fee-quotes"}  # they have a body, and change nothing
_SOUGHT: Final = {"/v1/tenant", "/v1/events"}  # may find nothing: the feed, after an event that there is not
_OPEN: Final = re.compile(r"^/(healthz|readyz|metrics|v1/gateways/)")  # no key of ours opens them
_VERSIONED: Final = re.compile(r"^(/v1/(escrows|milestones|disputes|payouts)|/api/projects)/")
_PAID: Final = re.compile(r"^(/v1/(escrows|milestones|disputes|payouts|wallets)|/api)\b")
_TAGGED: Final = frozenset({"EscrowView", "MilestoneView", "DisputeView", "PayoutView"})
_LOCATED: Final = frozenset({"EscrowView", "DisputeView"})
_BEGUN: Final = frozenset({"400", "401", "403", "429", "500", "503"})  # what any operation may answer
_SCHEMAS: Final = "#/components/schemas/"
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Unique to what is asked for, such as a UUID. The same key and body again answer the same.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x3f\\x41-\\x7d][\\x21-\\x7e]{0,149}$"},
    "example": "order-17-approve-1",
}
_ACTOR: Final = {
    "name": "Holdfast-Actor",
    "in": "header",
    "required": False,
    "description": "For whom a key acts: `buyer:<party>`, `seller:<party>`; an operator's also `operator:<name>`.",
    "schema": {
        "type": "string",
        "pattern": "^(buyer|seller|operator):[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$",
        "examples": ["buyer:alice"],
    },
}
_VERSION: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The version of the escrow that this is based on, as its `ETag` has it: `"7"`.',
    "schema": {"type": "string", "pattern": '^(\\*|(W/)?"[1-9][0-9]{0,17}")$', "examples": ['"7"']},
}
_SIGNATURE: Final = {
    "name": "Stripe-Signature",
    "in": "header",
    "required": True,
    "description": "The provider's signature of the body, and when it was made.",
    "schema": {"type": "string"},
    "example": "t=1700000000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
}
_PROVIDER_EVENT: Final = {
    "required": True,
    "description": "The event as the provider sends it. Its bytes are what is signed.",
    "content": {"application/json": {"schema": {"type": "object"}, "example": {"id": "evt_1", "type": "payout.paid"}}},
}
_DESCRIPTION: Final = """
Escrow for marketplaces: it holds a buyer's money until the seller has delivered, and moves it exactly once.

Money is in minor units. Everything that changes something takes an `Idempotency-Key`. Errors are
`application/problem+json` with a stable `code`.
"""


def install(app: FastAPI) -> None:
    """Serve our document in place of FastAPI's."""
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(_document(app))
        return made

    app.openapi = document  # type: ignore[method-assign]


def operation_id(route: APIRoute) -> str:
    """The name of the route's function, which generated clients call it by: stable, and unique (a test holds that)."""
    return route.name


def problem(description: str) -> dict[str, Any]:
    """How a route documents an error."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": f"{_SCHEMAS}Problem"}}}}


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="Holdfast",
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=[{"url": "/", "description": "The service that serves this document"}],
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, schema in schemas.items():
        _refine(name, schema)
    schemas["Currency"] = CURRENCY
    schemas["Problem"] = _problem_schema()
    components["headers"] = HEADERS
    components["responses"] = {name: _answer(status) for status, name in STATUSES.items()}
    components["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, or an end user's JWT."},
        "bootstrap": {"type": "http", "scheme": "bearer", "description": "HOLDFAST_BOOTSTRAP_SECRET."},
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
            _exemplify(operation, schemas)
    return document


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    title = operation["operationId"].replace("_", " ").capitalize()
    if operation["summary"] == operation["operationId"].replace("_", " ").title():
        operation["summary"] = title.replace(" api ", " API ").replace(" jwt ", " JWT ")
    responses: dict[str, Any] = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422", {})):
        del responses["422"]  # FastAPI's own form of validation errors is nowhere answered
    for parameter in operation.get("parameters", []):
        _describe(path, parameter)
    if path.startswith("/v1/gateways/"):
        operation.setdefault("parameters", []).append(_SIGNATURE)
        operation["requestBody"] = _PROVIDER_EVENT
    if not _OPEN.match(path):
        _guard(path, method, operation)
    else:
        operation["security"] = []
    for status, response in responses.items():
        _head(method, path, status, response)


def _guard(path: str, method: str, operation: dict[str, Any]) -> None:
    """What holds where a key is needed: the key, its headers, and what may be answered."""
    tenants, changes = path == "/v1/tenants", method in _CHANGES and path not in _QUESTIONS
    operation["security"] = [{"bootstrap": []}] if tenants else [{"key": []}]
    parameters, responses = operation.setdefault("parameters", []), operation["responses"]
    statuses = {*_BEGUN, "422"}  # a query parameter that there is not, for one
    if "{" in path or method in _CHANGES or path in _SOUGHT:
        statuses.add("404")
    if method in _CHANGES:
        statuses |= {"408", "413", "415"}
    if changes:
        statuses.add("409")
        if path.startswith("/v1/parties/{party}"):
            statuses.add("410")
        parameters.append({**_KEY, "required": not path.startswith("/api/projects")})
        if _VERSIONED.match(path):
            parameters.append(_VERSION)
        if "202" in responses and _PAID.match(path):
            statuses.add("402")
    if not tenants:
        parameters.append(_ACTOR)
    for status in sorted(statuses - set(responses)):
        responses[status] = {"$ref": f"#/components/responses/{STATUSES[status]}"}


def _describe(path: str, parameter: dict[str, Any]) -> None:
    known = PATHS.get(parameter["name"]) if parameter["in"] == "path" else None
    if known is not None:
        parameter["schema"] = identifier("jwk") if path.startswith("/v1/jwt-keys") else known
        return
    if parameter["name"] == "escrow":
        parameter["schema"] = {"anyOf": [PATHS["escrow"], {"type": "null"}]}
    for one in _parts(parameter["schema"]):
        _tidy(one)


def _exemplify(operation: dict[str, Any], schemas: dict[str, Schema]) -> None:
    """Put an example beside every body: a body's own, or ours."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for name in _names(content["schema"]):
            inherited = schemas[name].pop("example", None)
            content["example"] = BODIES.get(name) or inherited


def _head(method: str, path: str, status: str, response: dict[str, Any]) -> None:
    """The headers of an answer that is this operation's own."""
    if "$ref" in response:
        return
    names = ["X-Request-Id"]
    told = {name for content in response.get("content", {}).values() for name in _names(content["schema"])}
    if _TAGGED & told:
        names.append("ETag")
    if status == "202" or (status == "201" and _LOCATED & told):
        names.append("Location")
    if status in {"202", "503"}:
        names.append("Retry-After")
    if method in _CHANGES and status.startswith("2") and status != "202" and not _OPEN.match(path):
        names.append("Idempotent-Replayed")
    response["headers"] = _headers(*names)


def _answer(status: str) -> dict[str, Any]:
    """An error that many operations answer with: its codes, and one of them as it looks."""
    codes = {code: said for code, (at, said) in CODES.items() if at == int(status)}
    answer = problem("\n\n".join(f"`{code}`: {said}" for code, said in codes.items()))
    answer["headers"] = _headers("X-Request-Id")
    if status == "401":
        answer["headers"] |= _headers("WWW-Authenticate")
    elif status in {"429", "503"}:
        answer["headers"] |= _headers("Retry-After")
    elif status not in {"408", "413", "415", "500"}:
        answer["headers"] |= _headers("Idempotent-Replayed")
    if status == "409":
        answer["headers"]["Retry-After"] = {
            "description": "With `idempotency_in_progress`: after how many seconds to ask again.",
            "schema": {"type": "integer", "minimum": 1},
        }
    return answer


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problem_schema() -> Schema:
    schema = Problem.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
    table = "\n".join(f"| `{code}` | {status} | {said} |" for code, (status, said) in CODES.items())
    schema["properties"]["code"] |= {
        "enum": list(CODES),
        "description": f"The kind of problem, for programs.\n\n| code | status | meaning |\n|---|---|---|\n{table}",
    }
    return schema


def _refine(name: str, schema: Schema) -> None:
    """Say of a model's fields what its types alone do not tell JSON Schema."""
    for field, said in schema.get("properties", {}).items():
        form = _form(name, field)
        for one in _parts(said):
            _tidy(one)
            if form and one.get("type") == "string" and not {"enum", "const", "pattern", "format"} & set(one):
                del one["type"]
                one.update(form)


def _form(name: str, field: str) -> Schema | None:
    """The form of a field, by its name: a currency, a party, an id."""
    if field in CURRENCIES:
        return {"$ref": f"{_SCHEMAS}Currency"}
    if field in {"base", "quote"}:  # of rates there may be more than money is held in
        return {"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["USD"]}
    if field in PARTIES or (name, field) == ("PartyView", "id"):
        return PATHS["party"]
    prefix = IDS.get(name) if field == "id" else NAMED.get(field)
    return None if prefix is None else identifier(prefix)


def _parts(schema: Schema) -> Iterator[Schema]:
    """A schema, its alternatives, and what its lists are of."""
    yield schema
    for one in schema.get("anyOf", []):
        yield from _parts(one)
    if isinstance(schema.get("items"), dict):
        yield from _parts(schema["items"])


def _names(schema: Schema) -> list[str]:
    return [one["$ref"].removeprefix(_SCHEMAS) for one in _parts(schema) if "$ref" in one]


def _tidy(schema: Schema) -> None:
    """Pydantic writes limits of whole numbers as floats, and of decimals under names that JSON Schema does not know."""
    if schema.get("type") == "integer":
        for limit in ("minimum", "maximum"):
            if limit in schema:
                schema[limit] = int(schema[limit])
    decimals = {name: schema.pop(name) for name in ("max_digits", "decimal_places", "ge", "gt", "le") if name in schema}
    if not decimals:
        return
    alternatives = schema.pop("anyOf", None)
    if alternatives is not None:
        places = decimals.get("decimal_places", 10)
        schema |= {"type": "string", "pattern": rf"^[0-9]{{1,19}}(\.[0-9]{{1,{places}}})?$", "examples": ["0.10"]}
        low, high = (decimals.get(name, "") for name in ("ge", "le"))
        schema["description"] = f"A decimal number from {low or 'above 0'} to {high}, as a string."
