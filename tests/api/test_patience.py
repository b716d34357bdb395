"""Clients that keep a process waiting or come in crowds, and the process's own end."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from threading import Event, Semaphore, Thread
from time import monotonic
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from starter.api import boundary, patience
from starter.api.boundary import Boundary
from starter.api.names import AT_ONCE, Names
from starter.api.patience import MOST_CONNECTIONS, Patience
from starter.api.problems import ProblemError
from tests.api.service import Api
from tests.api.service import api as running_api
from tests.servers import eventually

if TYPE_CHECKING:
    from tests.servers import Servers

HEAD = b"POST /v1/escrows HTTP/1.1\r\nHost: here\r\n"


class Kept:
    """An application that answers when it is let go."""

    def __init__(self) -> None:
        self.go = Event()
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 204; requests to /kept are kept until then."""
        assert scope["type"] == "http"
        self.begun += 1
        if scope["path"] == "/kept":
            await asyncio.to_thread(self.go.wait, 20)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


@contextmanager
def serving(app: Kept) -> Iterator[tuple[str, int]]:
    """The application behind our boundary and our protocol, in a thread; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(Boundary(app), http=Patience, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        eventually(lambda: server.started)
        yield listening.getsockname()
    finally:
        app.go.set()
        server.should_exit = True
        thread.join(20)


def said_until_closed(address: tuple[str, int], first: bytes, more: bytes) -> tuple[bytes, float]:
    """Say the first at once and the rest a byte at a time; what was answered, and how long it took to be closed."""
    with closing(socket.create_connection(address, 5)) as asking:
        asking.sendall(first)
        asking.settimeout(0.1)
        began, answered = monotonic(), b""
        for number in range(100):
            try:
                asking.sendall(more[number : number + 1])
                if not (got := asking.recv(65536)):
                    break
                answered += got
            except TimeoutError:
                continue
            except ConnectionError:
                break
        return answered, monotonic() - began


@pytest.mark.parametrize(
    "before",
    [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: here\r\n\r\nGET / HTTP/1.1\r\n"],
    ids=["at first", "within the headers", "after an answer"],
)
def test_headers_that_do_not_end_are_not_waited_for(monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    """A byte now and then does not help."""
    monkeypatch.setattr(patience, "HEADERS_SECONDS", 0.5)
    with serving(Kept()) as address:
        _, took = said_until_closed(address, before, b"X: " + b"x" * 100)
    assert 0.3 < took < 4


def test_a_body_that_does_not_end_is_408_and_the_connection_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "BODY_SECONDS", 0.5)
    with serving(Kept()) as address:
        answered, took = said_until_closed(address, HEAD + b"Content-Length: 1000\r\n\r\n", b"x" * 100)
    assert answered.startswith(b"HTTP/1.1 408")
    assert b'"code":"timeout"' in answered
    assert took < 4


def test_a_request_that_takes_its_time_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for what clients have to send, not for us."""
    monkeypatch.setattr(patience, "HEADERS_SECONDS", 0.2)
    app = Kept()
    with serving(app) as address, closing(socket.create_connection(address, 10)) as asking:
        asking.sendall(b"GET /kept HTTP/1.1\r\nHost: here\r\n\r\n")
        eventually(lambda: app.begun == 1)
        began = monotonic()
        eventually(lambda: monotonic() > began + 0.6)
        app.go.set()
        assert asking.recv(100).startswith(b"HTTP/1.1 204")


def test_one_request_too_many_is_503_and_the_probes_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "AT_ONCE", 2)
    app = Kept()
    with serving(app) as (host, port), ExitStack() as open_ones:
        for _ in range(2):
            asking = open_ones.enter_context(closing(socket.create_connection((host, port), 5)))
            asking.sendall(b"GET /kept HTTP/1.1\r\nHost: here\r\n\r\n")
        eventually(lambda: app.begun == 2)
        refused = httpx.get(f"http://{host}:{port}/v1/escrows", trust_env=False)
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["Retry-After"]
        assert httpx.get(f"http://{host}:{port}/healthz", trust_env=False).status_code == HTTPStatus.NO_CONTENT
        app.go.set()
        eventually(lambda: httpx.get(f"http://{host}:{port}/", trust_env=False).status_code == HTTPStatus.NO_CONTENT)


def test_sockets_that_say_nothing_make_room_for_those_who_ask(api: Api) -> None:
    """More of them than a process may have: the first to come are closed, and whoever asks is answered."""
    where = httpx.URL(api.address)
    with ExitStack() as open_ones:
        idle = [
            open_ones.enter_context(closing(socket.create_connection((where.host, where.port or 0), 5)))
            for _ in range(MOST_CONNECTIONS + 60)
        ]
        for _ in range(5):
            assert httpx.get(f"{api.address}/healthz", trust_env=False).status_code == httpx.codes.OK
        idle[0].settimeout(5)
        assert idle[0].recv(1) == b""


@pytest.mark.anyio
async def test_names_that_nobody_answers_for_hold_up_no_other_work() -> None:
    """Two at a time of each tenant, few of all; threads for everything else stay free."""
    silent, asked = Event(), Semaphore(0)

    def look_up(host: str, _port: int) -> list[tuple[object, ...]]:
        if host == "silent.example":
            asked.release()
            silent.wait(30)
        return [(0, 0, 0, "", ("203.0.113.7", 443))]

    names = Names(look_up)
    try:
        waiting = [
            asyncio.ensure_future(names.addresses(f"ten_{number // 2}", "silent.example", 443))
            for number in range(AT_ONCE - 1)
        ]
        for _ in waiting:
            assert await asyncio.to_thread(asked.acquire, timeout=5)
        with pytest.raises(ProblemError, match="2 names of yours") as too_many:
            await names.addresses("ten_0", "silent.example", 443)
        assert (too_many.value.status, too_many.value.headers) == (429, {"Retry-After": "5"})
        assert await names.addresses("ten_x", "shop.example", 443) == ["203.0.113.7"]
        waiting.append(asyncio.ensure_future(names.addresses("ten_x", "silent.example", 443)))
        assert await asyncio.to_thread(asked.acquire, timeout=5)
        with pytest.raises(ProblemError, match="too many names") as busy:
            await names.addresses("ten_y", "shop.example", 443)
        assert busy.value.status == HTTPStatus.SERVICE_UNAVAILABLE
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 2) == "free"
        silent.set()
        assert await asyncio.gather(*waiting) == [["203.0.113.7"]] * AT_ONCE
        assert await names.addresses("ten_0", "shop.example", 443) == ["203.0.113.7"]
    finally:
        silent.set()
        names.close()


def test_to_be_asked_to_end_is_no_failure(
    servers: "Servers", api: Api, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SIGTERM and Ctrl-C end a process with 0, and what was begun is answered first."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with running_api(servers, tmp_path_factory.mktemp("ending") / "api.log") as ending:
            ending.process.send_signal(number)
            assert ending.process.wait(20) == 0, ending.log.read_text()
