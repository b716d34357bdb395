"""The embedded stack as its users meet it: real servers, real signals, real files."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import psycopg
import pytest
from temporalio.client import Client

from starter.embedded.children import Children
from starter.embedded.stack import Endpoints, Stack, StackError, running

T = TypeVar("T")
# Stands in where a worker is only there to be started and stopped; the tests of supervision run the real one.
FAKE_WORKER = "import signal; print('holdfast worker ready', flush=True); signal.sigwait([signal.SIGTERM])"
DYING_WORKER = "raise SystemExit('the worker says why')"
SUPERVISOR = """
import sys, threading
from pathlib import Path
import starter.embedded.child
from starter.embedded.stack import Stack
if sys.argv[2] == "orphans":
    starter.embedded.child._prctl = None  # as on a system that lets children outlive their parent
stack = Stack(Path(sys.argv[1]), progress=print, worker_command=(sys.executable, "-c", sys.argv[3]))
try:
    stack.start()
    stack.supervise(threading.Event())
except KeyboardInterrupt:
    stack.stop()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory above which nobody changes rights; every pytest that starts closes the directory of ``tmp_path``."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with us."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Path, Endpoints]]:
    with tempfile.TemporaryDirectory() as directory, _stack(home := Path(directory) / "home") as endpoints:
        yield home, endpoints


def test_it_boots_on_free_ports_and_says_where(shared: tuple[Path, Endpoints]) -> None:
    """Whoever asks for the stack of a directory learns endpoints at which everything answers."""
    home, endpoints = shared
    assert running(home) == endpoints
    assert _query(endpoints.database_url, "SELECT current_user") == "holdfast_app"
    assert _query(endpoints.migration_url, "SELECT current_user") == "holdfast_owner"
    assert httpx.get(f"{endpoints.stripe_api_base}/healthz").is_success
    assert httpx.get(endpoints.temporal_ui, follow_redirects=True).is_success
    assert asyncio.run(_workflow_status(endpoints, "unheard-of")) == "workflow not found for ID: unheard-of"


def test_its_environment_leads_settings_and_the_temporal_sdk_to_it(shared: tuple[Path, Endpoints]) -> None:
    """A child process needs nothing but the endpoints' environment."""
    _, endpoints = shared
    assert endpoints.environment() == {
        "HOLDFAST_DATABASE_URL": endpoints.database_url,
        "HOLDFAST_API_DATABASE_URL": endpoints.api_database_url,
        "HOLDFAST_KEYS": endpoints.keys,
        "HOLDFAST_BOOTSTRAP_SECRET": endpoints.bootstrap_secret,
        "HOLDFAST_CODEC_SECRET": endpoints.codec_secret,
        "HOLDFAST_TEMPORAL_UI_URL": endpoints.temporal_ui,
        "HOLDFAST_WEBHOOKS_ALLOW_LOOPBACK": "true",
        "HOLDFAST_MIGRATION_URL": endpoints.migration_url,
        "HOLDFAST_STRIPE_API_BASE": endpoints.stripe_api_base,
        "HOLDFAST_STRIPE_API_KEY": endpoints.stripe_api_key,
        "HOLDFAST_STRIPE_WEBHOOK_SECRET": endpoints.stripe_webhook_secret,
        "TEMPORAL_ADDRESS": endpoints.temporal_address,
        "TEMPORAL_NAMESPACE": "default",
    }


def test_the_program_s_role_owns_nothing_and_nobody_enters_without_a_password(shared: tuple[Path, Endpoints]) -> None:
    """The role that the program uses cannot make tables, and a wrong password is refused."""
    _, endpoints = shared
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _query(endpoints.database_url, "CREATE TABLE mine (id int)")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _query(endpoints.database_url.replace("holdfast_app:", "holdfast_app:x"), "SELECT 1")


def test_money_is_on_disk_when_a_commit_returns(shared: tuple[Path, Endpoints]) -> None:
    """The server runs with fsync and synchronous commit."""
    _, endpoints = shared
    assert _query(endpoints.database_url, "SHOW fsync") == "on"
    assert _query(endpoints.database_url, "SHOW synchronous_commit") == "on"


def test_secrets_and_data_are_for_its_owner_alone(shared: tuple[Path, Endpoints]) -> None:
    """No file of the stack that holds a secret or money can be read by another user."""
    home, endpoints = shared
    for name in ("secrets.json", "stack.json", "children.json", "temporal.db", "logs", "postgres"):
        assert (home / name).stat().st_mode & 0o077 == 0, name
    assert endpoints.stripe_api_key not in repr(endpoints)
    assert endpoints.database_url not in repr(endpoints)


def test_a_second_stack_in_the_same_directory_is_refused(shared: tuple[Path, Endpoints]) -> None:
    """The second one is told who runs there and where, and the first goes on."""
    home, endpoints = shared
    with pytest.raises(StackError, match=f"already runs.*pid {os.getpid()}.*{endpoints.temporal_ui}"):
        _new_stack(home).start()
    assert running(home) == endpoints
    assert _query(endpoints.database_url, "SELECT 1") == 1


def test_ctrl_c_in_the_terminal_reaches_the_supervisor_alone(shared: tuple[Path, Endpoints]) -> None:
    """Every child has a session of its own."""
    home, _ = shared
    pids = _pids(home)
    assert pids.keys() == {"worker", "sandbox", "temporal", "postgres"}
    assert all(os.getsid(pid) == pid for pid in pids.values())


def test_data_survives_a_stop_and_a_start_on_the_same_ports(place: Path) -> None:
    """Rows and workflows are there after a restart, at the same addresses."""
    with _stack(place) as before:
        _write_row(before)
        asyncio.run(_start_workflow(before, "survivor"))
    assert running(place) is None
    with _stack(place) as after:
        assert after == before
        assert _query(after.migration_url, "SELECT sum(n) FROM kept") == 42
        assert asyncio.run(_workflow_status(after, "survivor")) == "RUNNING"


@pytest.mark.parametrize("children", ["die with it", "orphans"])
def test_a_killed_supervisor_leaves_nothing_that_a_new_start_trips_over(place: Path, children: str) -> None:
    """After SIGKILL of the supervisor the next start works with the data, and no process of the first is left."""
    supervisor = _supervisor(place, children)
    first = _eventually(lambda: running(place))
    _write_row(first)
    pids = _pids(place).values()
    supervisor.kill()
    supervisor.wait()
    assert running(place) is None
    with _stack(place) as second:
        assert not any(_runs(pid) for pid in pids)
        assert _query(second.migration_url, "SELECT sum(n) FROM kept") == 42


def test_everything_killed_at_once_is_survived(place: Path, stranger: subprocess.Popen[bytes]) -> None:
    """The next start recovers, even if PostgreSQL's old number has been given to a process of somebody else's."""
    supervisor = _supervisor(place, "orphans")
    _write_row(_eventually(lambda: running(place)))
    for pid in (supervisor.pid, *_pids(place).values()):
        os.kill(pid, signal.SIGKILL)
    supervisor.wait()
    pid_file = place / "postgres" / "postmaster.pid"
    number, rest = pid_file.read_text().split("\n", 1)
    pid_file.write_text(f"{stranger.pid}\n{rest}")
    assert int(number) != stranger.pid
    with _stack(place) as second:
        assert _query(second.migration_url, "SELECT sum(n) FROM kept") == 42
    assert stranger.poll() is None


def test_ctrl_c_stops_everything(place: Path) -> None:
    """After SIGINT to the supervisor nothing of the stack is left and the database was shut down cleanly."""
    supervisor = _supervisor(place, "die with it")
    _eventually(lambda: running(place))
    pids = _pids(place).values()
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(30) == 0
    assert not any(_runs(pid) for pid in pids)
    assert (place / "logs" / "postgres.log").read_text().rstrip().endswith("database system is shut down")


def test_a_number_in_a_stale_record_is_not_taken_for_a_child_of_ours(
    place: Path, stranger: subprocess.Popen[bytes]
) -> None:
    """A recorded number that another process was given since is not signalled, though it runs the same command."""
    record = {"name": "temporal", "pid": stranger.pid, "created": 1.0, "argv": ["sleep", "60"]}
    (place / "children.json").write_text(json.dumps([record]))
    Children(place / "children.json").stop_leftovers(print)
    assert stranger.poll() is None


def test_any_directory_will_do(place: Path) -> None:
    """Spaces, signs that mean something to a URL or a shell, and great length do no harm; the data lands inside."""
    home = place / "with spaces" / "50% of 'odd'? #\"ünï$" / "/".join(["long" * 10] * 8)
    with _stack(home) as endpoints:
        assert _query(endpoints.database_url, "SELECT 1") == 1
        assert (home / "temporal.db").exists()
    assert [path.name for path in place.iterdir()] == ["with spaces"]


def test_a_path_too_long_for_the_databases_is_named(place: Path) -> None:
    """A directory that SQLite could not open files in is refused before anything starts."""
    with pytest.raises(StackError, match="longer than 480 bytes"):
        _new_stack(place / "/".join(["x" * 100] * 5)).start()


def test_a_file_in_the_place_of_the_directory_is_named(place: Path) -> None:
    """The message names the path and what is wrong with it."""
    (place / "file").touch()
    with pytest.raises(StackError, match=r"file cannot be used as the stack's directory: File exists.*HOLDFAST_HOME"):
        _new_stack(place / "file").start()


def test_a_directory_that_cannot_be_written_is_named() -> None:
    """The message names the path and what to do; /proc refuses even root."""
    with pytest.raises(StackError, match=r"/proc/holdfast cannot be used as the stack's directory.*HOLDFAST_HOME"):
        _new_stack(Path("/proc/holdfast")).start()


def test_a_taken_port_is_named_and_nothing_is_left_running(place: Path) -> None:
    """A configured port that somebody listens on is refused, and the directory is free again."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(StackError, match=rf"Port {port} \(HOLDFAST_TEMPORAL_UI_PORT\) is taken .* to 0"):
            _new_stack(place, temporal_ui_port=port).start()
    assert running(place) is None
    assert not _pids(place)


def test_lost_secrets_are_named(place: Path) -> None:
    """A database whose passwords are gone is not touched, and the message says which file is missing."""
    (place / "postgres").mkdir()
    with pytest.raises(StackError, match=r"secrets\.json is gone"):
        _new_stack(place).start()


def test_a_worker_that_cannot_start_is_quoted_and_nothing_is_left_running(place: Path) -> None:
    """The message ends with the worker's own words, and the directory is free again."""
    with pytest.raises(StackError, match=r"worker stopped while starting \(exit code 1\)[^$]*the worker says why"):
        _new_stack(place, worker_command=(sys.executable, "-c", DYING_WORKER)).start()
    assert running(place) is None
    assert _pids(place) == {}


def test_a_worker_killed_on_its_way_up_gets_another_chance(place: Path) -> None:
    """kill -9 in the first second is no reason to give up a run."""
    killed_once = f"""
import os, signal
from pathlib import Path
if not Path({str(place / "flag")!r}).exists():
    Path({str(place / "flag")!r}).touch()
    os.kill(os.getpid(), signal.SIGKILL)
{FAKE_WORKER}"""
    said: list[str] = []
    stack = Stack(place / "home", progress=said.append, worker_command=(sys.executable, "-c", killed_once))
    with stack:
        assert "The worker was killed on its way up; starting it again." in said


def test_two_stacks_live_side_by_side_in_one_process(place: Path) -> None:
    """Stacks in different directories share nothing."""
    stacks = [_new_stack(place / name) for name in ("one", "two")]
    try:
        with ThreadPoolExecutor() as pool:
            first, second = pool.map(Stack.start, stacks)
        _write_row(first)
        with pytest.raises(psycopg.errors.UndefinedTable):
            _query(second.migration_url, "SELECT * FROM kept")
    finally:
        for stack in stacks:
            stack.stop()


@pytest.mark.parametrize("name", ["worker", "sandbox", "temporal", "postgres"])
def test_what_is_killed_is_started_again_at_the_same_address(supervised: "Supervised", name: str) -> None:
    """A SIGKILL of any child at any moment is followed by its return, with its data."""
    _eventually(lambda: supervised.pid(name))
    earlier = supervised.pid(name)
    os.kill(earlier, signal.SIGKILL)
    _eventually(lambda: any(f"{name} died (SIGKILL)" in line for line in supervised.said))
    _eventually(lambda: any(f"{name} is back" in line for line in supervised.said))
    assert supervised.pid(name) != earlier
    assert _query(supervised.endpoints.migration_url, "SELECT sum(n) FROM kept") == 42
    assert asyncio.run(_workflow_status(supervised.endpoints, "supervised")) == "RUNNING"


class Supervised:
    """A stack whose ``supervise`` runs in a thread."""

    def __init__(self, home: Path, endpoints: Endpoints, said: list[str]) -> None:
        self.home, self.endpoints, self.said = home, endpoints, said

    def pid(self, name: str) -> int:
        return _pids(self.home)[name]


@pytest.fixture(scope="module")
def supervised() -> Iterator[Supervised]:
    said, enough = list[str](), threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        stack = Stack(Path(directory), progress=said.append)
        endpoints = stack.start()
        thread = threading.Thread(target=stack.supervise, args=(enough,))
        thread.start()
        try:
            _write_row(endpoints)
            asyncio.run(_start_workflow(endpoints, "supervised"))
            yield Supervised(Path(directory), endpoints, said)
        finally:
            enough.set()
            thread.join()
            stack.stop()


def _new_stack(home: Path, **options: Any) -> Stack:
    given = {
        "progress": lambda _: None,
        "worker_command": (sys.executable, "-c", FAKE_WORKER),
        **options,
    }
    return Stack(home, **given)


@contextmanager
def _stack(home: Path, **options: Any) -> Iterator[Endpoints]:
    with _new_stack(home, **options) as endpoints:
        yield endpoints


def _supervisor(home: Path, children: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(home), children, FAKE_WORKER])


def _pids(home: Path) -> dict[str, int]:
    record = home / "children.json"
    return {child["name"]: child["pid"] for child in json.loads(record.read_text())} if record.exists() else {}


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _query(url: str, statement: str) -> Any:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row and row[0]


def _write_row(endpoints: Endpoints) -> None:
    with psycopg.connect(endpoints.migration_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (42)")


async def _start_workflow(endpoints: Endpoints, workflow_id: str) -> None:
    client = await Client.connect(endpoints.temporal_address)
    await client.start_workflow("Waiting", id=workflow_id, task_queue="nobody")


async def _workflow_status(endpoints: Endpoints, workflow_id: str) -> str:
    client = await Client.connect(endpoints.temporal_address, namespace=endpoints.temporal_namespace)
    try:
        status = (await client.get_workflow_handle(workflow_id).describe()).status
    except Exception as error:  # noqa: BLE001 -- the test asserts on its words
        return str(error)
    return status.name if status else "no status"


def _eventually(look: Callable[[], T | None], seconds: float = 60.0) -> T:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)
    return seen
