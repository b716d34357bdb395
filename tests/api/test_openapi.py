"""The OpenAPI document is true: schemathesis makes requests up from it, and nothing is answered that it does not say.

What the document needs to be of use besides: names, examples that work, every error.
"""

import ast
import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema

import starter.api
from models.errors import ErrorCode
from starter.api.problems import _CODES as PROBLEM_CODES
from tests.api.marketplace import Marketplace
from tests.api.service import Api
from tests.api.service import api as running_api
from tests.api.test_parties import screening

MINUTES: Final = float(os.environ.get("OPENAPI_MINUTES", "0"))
# For OPENAPI_MINUTES each phase makes up what it can, of all operations. Without it the same requests are made every
# time: every example, what covers the schema of every sixth operation, and inventions for the others.
PHASES: Final = ("examples", "coverage", "fuzzing")
APART: Final = 6
INVENTED: Final = 3
LEAST: Final = {"examples": 36, "coverage": 8, "fuzzing": 25}  # operations that have to succeed at least once
SEED: Final = int(time.time()) if MINUTES else 4
LIMITS: Final = {"pattern", "maxLength", "enum", "const", "format"}
OPEN: Final = ("/healthz", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def service(api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API process that lets as many requests through as are made up; the workers are those of all tests."""
    log = tmp_path_factory.mktemp("openapi") / "api.log"
    more = {"HOLDFAST_WEBHOOKS_ALLOW_LOOPBACK": "true", "HOLDFAST_API_REQUESTS_PER_SECOND": "100000"}
    with running_api(api.servers, log, **more) as running:
        yield running


@pytest.fixture(scope="module")
def document(service: Api) -> Any:
    """The document as it is served."""
    return httpx.get(f"{service.address}/openapi.json", trust_env=False).json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Method, path and description of every operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


@dataclass
class Findings:
    """What a run of schemathesis saw: statuses by operation, and what was not as the document says."""

    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, event: events.EngineEvent) -> None:
        """Note what a run tells."""
        if isinstance(event, events.NonFatalError):
            self.wrong[event.label, type(event.value).__name__] = str(event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception
        if not isinstance(event, events.ScenarioFinished):
            return
        for made in event.recorder.interactions.values():
            if made.response is not None:
                self.answered[str(event.label), made.response.status_code] += 1
        for case, checks in event.recorder.checks.items():
            for check in checks:
                if check.status == Status.FAILURE and check.failure_info is not None:
                    made = event.recorder.interactions[case]
                    text = made.response.text[:500] if made.response is not None else ""
                    told = f"{check.failure_info.failure.message}\n{check.failure_info.code_sample}\n{text}"
                    self.wrong.setdefault((str(event.label), check.name), told)


def left_out(phase: str, ids: list[str]) -> list[str]:
    """The operations that a phase leaves to another one, unless there is time for all."""
    covered = set(ids[::APART])
    if phase == "examples" or MINUTES:
        return []
    return [one for one in ids if (one in covered) == (phase == "fuzzing")]


def configured(phase: str, service: Api, key: str, ids: list[str]) -> SchemathesisConfig:
    """How schemathesis goes about one phase. Refusals by the rules, 402 to 422, are no rejection of good data."""
    overlapping = {"unsupported_method": {"enabled": False}, "allow_header_conformance": {"enabled": False}}
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            **({"max-time": int(MINUTES * 60)} if MINUTES else {}),
            "workers": 1,  # in several threads Python 3.11 fails to compile what schemathesis makes ("AST constructor")
            "continue-on-failure": True,
            "request-timeout": 30,
            "generation": {
                "max-examples": 500 if MINUTES else INVENTED,
                "no-shrink": True,
                "deterministic": not MINUTES,
                "database": "none",
            },
            "auth": {
                "openapi": {
                    "key": {"bearer": key},
                    "bootstrap": {"bearer": service.servers.endpoints.bootstrap_secret},
                }
            },
            "phases": {one: {"enabled": one == phase} for one in (*PHASES, "stateful")},
            "base-url": service.address,
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ["2xx", "401", "402", "403", "404", "409", "422"]}
            },
            "operations": [
                *({"include-operation-id": one, "enabled": False} for one in left_out(phase, ids)),
                # Nobody but the provider can sign.
                {"include-operation-id": "take_webhook", "checks": {"positive_data_acceptance": {"enabled": False}}},
                # Each kind is written by an operation of its own; one that has the kind in its path reads all.
                {"include-path-regex": "^/v1/policies/", "checks": overlapping},
            ],
        }
    )


@contextmanager
def settled(marketplace: Marketplace) -> Iterator[None]:
    """While this lasts, requests that schemathesis makes up name things that exist."""

    def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
        marketplace.settle(case.operation.path, case.path_parameters, case.headers)

    schemathesis.hook(before_call)
    try:
        yield
    finally:
        schemathesis.hooks.unregister(before_call)


def explored(phase: str, service: Api, document: Any) -> Findings:
    """Everything that one phase found out, with a tenant of its own."""
    marketplace, found = Marketplace(service.tenant()).furnished(), Findings()
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    config = configured(phase, service, marketplace.tenant.operator.key, ids)
    known = deepcopy(document)
    known["components"]["schemas"]["Currency"]["enum"] = ["EUR", "JPY", "KWD", "USD"]  # not each of 150 is worth a try
    schema = schemathesis.openapi.from_dict(known, config=config)
    with settled(marketplace):
        for event in from_schema(schema).execute():
            found.add(event)
    return found


@pytest.mark.anyio
@pytest.mark.timeout(180 + 60 * MINUTES)
@pytest.mark.parametrize("phase", PHASES)
async def test_whatever_is_asked_is_answered_as_the_document_says(service: Api, document: Any, phase: str) -> None:
    async with screening(service):
        found = await asyncio.to_thread(explored, phase, service, document)
    told = "\n\n".join(f"{label}: {check}: {why}" for (label, check), why in found.wrong.items())
    assert not found.wrong, f"seed {SEED}\n{told}"
    statuses = Counter[int]()
    for (_, status), times in found.answered.items():
        statuses[status] += times
    assert not [one for one in statuses if one >= 429], statuses
    reached = {label for label, status in found.answered if status < 300}
    assert len(reached) > LEAST[phase], f"too little of it succeeds to tell anything: {sorted(reached)}"


def test_the_document_is_openapi_3_1_with_a_server_and_security(service: Api, document: Any) -> None:
    schemathesis.openapi.from_dict(document).validate()
    assert document["openapi"].startswith("3.1.")
    assert document["servers"]
    for method, path, operation in operations(document):
        public = path.startswith((*OPEN, "/v1/gateways/"))
        assert bool(operation["security"]) != public, f"{method} {path}"


def test_every_operation_has_a_name_a_summary_and_a_tag(document: Any) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(document):
        about = f"{method} {path}"
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"]), about
        assert re.match(r"[A-Z][a-z]+( |$)", operation["summary"]), about
        assert len(operation["tags"]) == 1, about
        assert operation["description"], about


def test_every_operation_tells_its_errors_and_headers(document: Any) -> None:
    for method, path, operation in operations(document):
        if path.startswith(OPEN):
            continue
        about = f"{method} {path}"
        answers = {status: resolved(document, one) for status, one in operation["responses"].items()}
        assert all("X-Request-Id" in one["headers"] for one in answers.values()), about
        for status, answer in answers.items():
            assert status < "400" or list(answer["content"]) == ["application/problem+json"], about
        if "/gateways/" in path:
            continue
        assert {"400", "401", "403", "429", "500", "503"} <= set(answers), about
        assert "Retry-After" in answers["429"]["headers"], about
        assert "Retry-After" in answers["503"]["headers"], about
        if method != "GET":
            assert {"404", "413", "415", "422"} <= set(answers), about


def test_every_parameter_and_id_is_limited(document: Any) -> None:
    for method, path, operation in operations(document):
        for one in operation.get("parameters", []):
            for schema in one["schema"].get("anyOf", [one["schema"]]):
                free = schema.get("type") == "string" and not LIMITS & set(schema)
                assert not free or one["name"] == "Stripe-Signature", f"{method} {path}: {one['name']}"
    for name, schema in document["components"]["schemas"].items():
        said = schema.get("properties", {}).get("id", {"pattern": ""})
        assert "pattern" in said or name in {"CommandView", "RateView"}, name  # a caller's own, and a pair


def test_every_error_code_is_in_the_document(document: Any) -> None:
    used = {kind.code for kind in ErrorCode} | set(PROBLEM_CODES.values()) | set(codes_in_the_source())
    assert len(used) > len(ErrorCode)
    code = document["components"]["schemas"]["Problem"]["properties"]["code"]
    assert set(code["enum"]) == used
    assert all(f"| `{one}` |" in code["description"] for one in used)


def codes_in_the_source() -> Iterator[str]:
    """The codes that routes give their problems themselves."""
    for file in Path(starter.api.__path__[0]).rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ProblemError":
                given = [*call.args[2:3], *(one.value for one in call.keywords if one.arg == "code")]
                yield from (one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))


def resolved(document: Any, answer: Any) -> Any:
    """An answer that is described in place, or among the components."""
    name = answer.get("$ref", "").removeprefix("#/components/responses/")
    return document["components"]["responses"][name] if name else answer


def test_every_example_is_taken_or_refused_by_the_rules_alone(service: Api, document: Any) -> None:
    marketplace = Marketplace(service.tenant()).furnished()
    sent = Counter[bool]()
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None or "/gateways/" in path:
            continue
        names = {one["name"]: one["schema"].get("examples", [""])[0] for one in operation["parameters"]}
        filled = path.format_map(names | {name: ids[0] for name, ids in marketplace.things.items()})
        caller = marketplace.tenant.operator
        headers = service.bootstrap() if path == "/v1/tenants" else {}
        answer = caller.ask(method, filled, content["example"], **headers)
        told = f"{method} {filled} with {content['example']}: {answer.status_code} {answer.text}"
        assert answer.is_success or answer.json()["code"] not in {"malformed", "invalid_request", "internal_error"}, (
            told
        )
        sent[answer.is_success] += 1
    assert sent[True] > sent[False], sent


@pytest.mark.parametrize("said", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
def test_a_body_that_does_not_say_that_it_is_json_is_refused_and_the_key_stays_free(service: Api, said: str) -> None:
    tenant, key, body = service.tenant(), uuid4().hex, b'{"because": "He asked for it."}'
    headers = {"Authorization": f"Bearer {tenant.operator.key}", "Idempotency-Key": key, "Content-Type": said}
    answer = tenant.http.post("/v1/parties/bob/block", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    headers["Content-Type"] = "application/json; charset=utf-8"
    assert tenant.http.post("/v1/parties/bob/block", content=body, headers=headers).status_code == httpx.codes.OK
    question = {"amount": 100, "currency": "EUR"}
    asked = tenant.http.post("/v1/fee-quotes", json=question, headers=headers | {"Content-Type": said})
    assert asked.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE


def test_what_a_path_takes_is_told_with_the_refusal_of_what_it_does_not(service: Api) -> None:
    tenant = service.tenant()
    allowed = {path: tenant.http.request("OPTIONS", path).headers["Allow"] for path in ("/v1/escrows", "/v1/tenants")}
    assert allowed == {"/v1/escrows": "GET, POST", "/v1/tenants": "POST"}
