"""The log of a running API: a line of JSON per request, found by its id, with nothing of what was sent."""

import json
from typing import Any
from uuid import uuid4

import httpx

from tests.api.service import Api, Tenant
from tests.servers import eventually


def about(api: Api, request: str) -> list[dict[str, Any]]:
    """The lines with this request id, once there are any."""

    def found() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in api.log.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if line.get("request_id") == request]

    return eventually(found)


def test_every_line_of_the_log_is_json_whatever_was_asked_for(tenant: Tenant) -> None:
    """A path, a header and a title that pretend to be lines are parts of one, or stand in none."""
    forged = '\n{"level": "info", "event": "forged"}'
    asked = uuid4().hex
    tenant.platform.ask("POST", "/v1/escrows", {"title": f"Logo{forged}"}, X_Request_Id=asked)
    tenant.platform.ask("GET", "/v1/escrows/%0A%7B%22event%22%3A%22forged%22%7D%E2%80%A8x", X_Request_Id=f"{asked}-2")
    (line,) = about(tenant.api, f"{asked}-2")
    assert (line["event"], line["method"], line["status"]) == ("request", "GET", 404)
    assert about(tenant.api, asked)
    everything = tenant.api.log.read_text(encoding="utf-8").splitlines()
    assert "forged" not in {json.loads(line)["event"] for line in everything}


def test_no_credential_no_body_and_no_title_is_ever_logged(tenant: Tenant) -> None:
    """Keys in headers, also in wrong ones and refused ones; what people write stays in the books."""
    title = f"Wedding of {uuid4().hex}"
    tenant.create(title=title)
    wrong = f"hf_test_{uuid4().hex}"
    request = uuid4().hex
    for headers in ({"Authorization": f"Bearer {wrong}"}, {"Authorization": f"Basic {wrong}", "X-Api-Key": wrong}):
        refused = httpx.get(
            f"{tenant.api.address}/v1/escrows", headers=headers | {"X-Request-Id": request}, trust_env=False
        )
        assert refused.status_code == 401
    assert eventually(lambda: len(about(tenant.api, request)) == 2)
    log = tenant.api.log.read_text(encoding="utf-8")
    known = (wrong, title, tenant.made["test_key"], tenant.made["operator_test_key"], "Bearer")
    assert [one for one in known if one in log] == []
    assert tenant.api.servers.endpoints.bootstrap_secret not in log
