"""The codec endpoint: operators read histories with it, by the Temporal CLI or the UI; nobody else reads anything."""

import asyncio
import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads

from ledger.keyring import Keyring
from starter.api import codec, problems
from starter.payloads import data_converter
from tests.gateway.sandbox_process import free_port
from tests.servers import Servers, eventually
from tests.workers import temporal, where

KEYS: Final = Keyring({"k1": bytes(32)})
CODEC_SECRET: Final = "hf_codec_of_a_test_0123456789"  # noqa: S105 - of this test alone
UI: Final = "http://127.0.0.1:8233"
BEARER: Final = {"Authorization": f"Bearer {CODEC_SECRET}"}


@contextmanager
def serving(keys: Keyring = KEYS, secret: str = CODEC_SECRET) -> Iterator[str]:
    """The endpoint alone, over real HTTP; answers its address."""
    app, port = FastAPI(), free_port()
    problems.install(app)
    app.include_router(codec.router(keys, secret, [UI]))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A browser, or whoever else asks."""
    with serving() as address, httpx.Client(base_url=address, trust_env=False) as client:
        yield client


def encoded(*values: Any, keys: Keyring | None = KEYS) -> dict[str, Any]:
    """Values as Temporal has them, in the JSON of its Payloads."""
    payloads = Payloads(payloads=asyncio.run(data_converter(keys).encode(values)))
    return json_format.MessageToDict(payloads)


def read(answer: httpx.Response) -> list[bytes]:
    """The data of the payloads that were answered."""
    return [base64.b64decode(one["data"]) for one in answer.json()["payloads"]]


def test_with_the_secret_it_decodes(http: httpx.Client) -> None:
    """Temporal's protocol: payloads in, payloads out, in their order; what is not encrypted stays as it is."""
    body = encoded("one", {"two": 2})
    body["payloads"].append(encoded("plain", keys=None)["payloads"][0])
    answer = http.post("/codec/decode?preserveStorageRefs=true", json=body, headers=BEARER)
    assert answer.status_code == httpx.codes.OK
    assert read(answer) == [b'"one"', b'{"two":2}', b'"plain"']
    assert answer.headers["cache-control"] == "no-store"
    assert http.post("/codec/decode", json={}, headers=BEARER).json() == {"payloads": []}


def test_a_key_that_is_missing_or_damage_spoils_nothing_else(http: httpx.Client) -> None:
    """The rest of the page is shown."""
    other = encoded("lost", keys=Keyring({"k9": bytes(range(32))}))["payloads"][0]
    damaged = encoded("damaged")["payloads"][0] | {"data": base64.b64encode(b"\x02k1 and so on").decode()}
    body = {"payloads": [other, damaged, *encoded("fine")["payloads"]]}
    answer = http.post("/codec/decode", json=body, headers=BEARER).json()["payloads"]
    assert answer[:2] == [other, damaged]
    assert base64.b64decode(answer[2]["data"]) == b'"fine"'


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": CODEC_SECRET}, {"Cookie": "holdfast_codec=1.k1:00"}],
    ids=["nothing", "a wrong secret", "no scheme", "a made-up cookie"],
)
def test_without_credentials_nothing_is_read(http: httpx.Client, headers: dict[str, str]) -> None:
    """401 as a problem, and nothing of the payloads in it."""
    answer = http.post("/codec/decode", json=encoded("mine"), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert "mine" not in answer.text


def test_it_encodes_nothing(http: httpx.Client) -> None:
    """Whoever may read histories cannot make what a worker believes."""
    assert http.post("/codec/encode", json=encoded("x", keys=None), headers=BEARER).status_code == httpx.codes.NOT_FOUND


@pytest.mark.parametrize("body", [b"", b"1", b'{"payloads": 1}', b"\xff", b'{"payloads": [1]}'])
def test_what_are_no_payloads_is_refused(http: httpx.Client, body: bytes) -> None:
    """400 that says what is expected."""
    answer = http.post("/codec/decode", content=body, headers=BEARER)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "payloads" in answer.json()["detail"]


def test_a_body_without_end_is_not_read_to_its_end(http: httpx.Client) -> None:
    """Nobody fills the memory of the API with it."""
    assert http.post("/codec/decode", content=bytes(codec.MAX_BYTES + 1), headers=BEARER).status_code == 413


def test_the_uis_pages_may_read_it_and_no_other_page(http: httpx.Client) -> None:
    """Cross-origin rules for the UI's origin, exactly, with credentials; errors it may read too."""
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-namespace"}
    allowed = http.options("/codec/decode", headers={"Origin": UI, **asks})
    assert allowed.headers["access-control-allow-origin"] == UI
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert {"content-type", "x-namespace"} <= set(allowed.headers["access-control-allow-headers"].split(", "))
    assert http.post("/codec/decode", json={}, headers={"Origin": UI}).headers["access-control-allow-origin"] == UI
    for origin in ("http://127.0.0.1:8234", "https://evil.example", "null", UI + ".evil.example"):
        for answer in (
            http.options("/codec/decode", headers={"Origin": origin, **asks}),
            http.post("/codec/decode", json=encoded("mine"), headers={"Origin": origin, **BEARER}),
        ):
            assert "access-control-allow-origin" not in answer.headers


def log_in(http: httpx.Client, secret: str = CODEC_SECRET, **headers: str) -> httpx.Response:
    """Fill in the form."""
    return http.post("/codec/login", data={"secret": secret}, headers=headers)


def test_the_login_page_opens_it_for_a_browser(http: httpx.Client) -> None:
    """A form, a cookie that scripts cannot read and other sites do not send; then the UI's requests are answered."""
    assert 'name="secret"' in http.get("/codec/login").text
    answer = log_in(http)
    assert (answer.status_code, answer.headers["location"]) == (303, "/codec/login/done")
    flags = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=lax", "path=/codec", "max-age=43200"} <= flags
    assert CODEC_SECRET not in answer.headers["set-cookie"]
    assert "cross-origin credentials" in http.get("/codec/login/done").text
    assert read(http.post("/codec/decode", json=encoded("mine"), headers={"Origin": UI})) == [b'"mine"']


def test_a_cookie_ends_after_twelve_hours_and_with_its_secret_and_key(http: httpx.Client) -> None:
    """Nobody prolongs one, and a new secret ends them all."""
    log_in(http)
    cookie = http.cookies["holdfast_codec"].strip('"')
    until, _, signature = cookie.partition(".")
    http.cookies.clear()
    for changed in (f"{int(until) + 1}.{signature}", f"{int(until) - 90000}.{signature}", f"{until}.", signature, ""):
        answer = http.post("/codec/decode", json={}, headers={"Cookie": f"holdfast_codec={changed}"})
        assert answer.status_code == httpx.codes.UNAUTHORIZED
    header = {"Cookie": f"holdfast_codec={cookie}"}
    assert http.post("/codec/decode", json={}, headers=header).status_code == httpx.codes.OK
    for keys, secret in ((KEYS, "another_secret_0123456789"), (Keyring({"k1": bytes(range(32))}), CODEC_SECRET)):
        with serving(keys, secret) as address:
            answer = httpx.post(f"{address}/codec/decode", json={}, headers=header, trust_env=False)
            assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_cookie_of_the_past_is_worth_nothing(http: httpx.Client) -> None:
    """Signed by us, and over."""
    door = codec.Doorkeeper(KEYS, CODEC_SECRET, codec.Failures())
    past = "1700000000"
    cookie = f"{past}.{KEYS.sign('session', door._about(past))}"
    answer = http.post("/codec/decode", json={}, headers={"Cookie": f"holdfast_codec={cookie}"})
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_a_wrong_secret_is_not_accepted_and_not_tried_for_long(http: httpx.Client) -> None:
    """After ten of them the address has to wait, even with the right one; a form of another site is refused."""
    assert log_in(http, Origin="https://evil.example").status_code == httpx.codes.FORBIDDEN
    for _ in range(10):
        assert log_in(http, "wrong").status_code == httpx.codes.UNAUTHORIZED
    answer = log_in(http)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 61
    assert http.post("/codec/decode", json={}, headers=BEARER).status_code == httpx.codes.TOO_MANY_REQUESTS


def test_an_address_that_was_wrong_may_try_again_after_a_minute() -> None:
    """Ten within a minute are too many, whenever they were."""
    time = [0.0]
    failures = codec.Failures(lambda: time[0])
    for second in range(10):
        time[0] = second
        assert failures.wait("a") == 0
        failures.add("a")
    assert (failures.wait("a"), failures.wait("b")) == (51, 0)
    time[0] = 60
    assert failures.wait("a") == 0


def test_the_temporal_cli_reads_a_history_with_it(servers: Servers) -> None:
    """``--codec-endpoint`` and ``--codec-auth`` of the real CLI are enough; without them it shows nothing."""

    async def start() -> str:
        client = await temporal(servers.endpoints)
        handle = await client.start_workflow("Nothing", "read me", id="codec-and-cli", task_queue="nobody")
        return handle.id

    workflow, address = asyncio.run(start()), where(servers.endpoints)["target_host"]
    program = str(Path(sys.executable).parent / "temporal")
    show = [program, "workflow", "show", "--address", address, "-w", workflow, "--output", "json"]
    with serving(Keyring.parse(servers.endpoints.keys)) as codec_address:
        reading = ["--codec-endpoint", f"{codec_address}/codec", "--codec-auth", f"Bearer {CODEC_SECRET}"]
        shown, hidden = [
            subprocess.run([*show, *more], capture_output=True, text=True, check=True, timeout=60).stdout
            for more in (reading, [])
        ]
    started = json.loads(shown)["events"][0]["workflowExecutionStartedEventAttributes"]
    data = started["input"]["payloads"][0]["data"]
    assert base64.b64decode(data) == b'"read me"'
    assert data not in hidden
