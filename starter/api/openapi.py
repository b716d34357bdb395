"""The OpenAPI document: what FastAPI derives from the routes, and what holds for all of them."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from starter.api.problems import MEDIA_TYPE, Problem

_CHANGES: Final = {"post", "put", "patch", "delete"}
_ALWAYS: Final = {
    "400": "Malformed: a header or the JSON cannot be read.",
    "401": "No credentials, or none that are accepted.",
    "403": "Not for this key, or not for this party.",
    "404": "There is no such thing, or it is not yours to see.",
    "422": "A field is wrong, or the rules refuse it: `code` says which.",
    "429": "Too many requests: wait for `Retry-After` seconds.",
    "500": "A mistake of ours.",
    "503": "The orchestrator or the database is away; nothing is half done. Send it again after `Retry-After` seconds.",
}
_CHANGING: Final = {
    "402": "More money is needed: `required`, `available`, `reserve`, `currency`, `top_up_url`; or a charge was "
    "declined.",
    "409": "In conflict with the state of things: `conflict` with `current_version`, `invalid_transition` with "
    "`state`, `event` and `allowed`, `idempotency_in_progress`.",
    "413": "The body is larger than 256 KiB.",
}
_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "Unique to what is asked for, such as a UUID. The same key and body again answer the same.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7d][\\x21-\\x7e]{0,149}$"},
    "example": "order-17-approve-1",
}
_ACTOR: Final = {
    "name": "Holdfast-Actor",
    "in": "header",
    "required": False,
    "description": "For whom a key acts: `buyer:<party>`, `seller:<party>`; an operator's also `operator:<name>`.",
    "schema": {"type": "string", "pattern": "^(buyer|seller|operator):[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"},
    "example": "buyer:alice",
}
_VERSION: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The version of the escrow that this is based on, as its `ETag` has it: `"7"`.',
    "schema": {"type": "string", "pattern": '^"[1-9][0-9]{0,17}"$'},
    "example": '"7"',
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


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title="Holdfast", version=app.version, description=_DESCRIPTION, routes=app.routes, tags=app.openapi_tags
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, an end user's JWT, or the bootstrap secret.",
        }
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path.startswith(("/v1", "/api")) and "/gateways/" not in path:
                _complete(path, method, operation)
            else:
                _plain(operation)
    return document


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    operation["security"] = [{"key": []}]
    parameters = operation.setdefault("parameters", [])
    if path != "/v1/tenants":
        parameters.append(_ACTOR)
    if method in _CHANGES:
        parameters.append(_KEY if path.startswith("/v1") else {**_KEY, "required": False})
        if path.startswith(("/v1/escrows", "/v1/milestones", "/v1/disputes", "/v1/payouts")) and path != "/v1/escrows":
            parameters.append(_VERSION)
    _plain(operation)
    for status, description in (_ALWAYS | (_CHANGING if method in _CHANGES else {})).items():
        operation["responses"].setdefault(status, problem(description))


def _plain(operation: dict[str, Any]) -> None:
    """FastAPI's own form of validation errors is nowhere answered."""
    known = operation["responses"].get("422", {})
    if "HTTPValidationError" in str(known):
        del operation["responses"]["422"]


def problem(description: str) -> dict[str, Any]:
    """How a route documents an error."""
    return {"description": description, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
