"""``holdfast`` as its users have it: a process with arguments, output and an exit code, and a home of its own."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import psycopg
from psycopg import IsolationLevel
from sqlalchemy import Engine

from ledger.engine import connect
from starter.deals.runs import Run
from starter.embedded.stack import Endpoints, running
from tests.end_to_end import forks
from tests.servers import eventually

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
PROGRAM: Final = Path(sys.executable).parent / "holdfast"
_SECONDS: Final = 90.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


class CommandLine:
    """Runs ``holdfast`` with one home, away from the repository and from the environment of whoever tests it."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self._directory = directory

    def start(self, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command without waiting for its end."""
        return self._start(arguments, environment, subprocess.DEVNULL)

    def start_at(self, terminal: int, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command for a person who types at a terminal, which is open as a file of that number."""
        return self._start(arguments, {}, terminal)

    def _start(
        self, arguments: tuple[str | Path, ...], environment: dict[str, str], stdin: int
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._directory,
            env=self._environment(environment),
        )

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        # In an activated environment the program would call itself by its name alone.
        path_of = {"PATH": os.pathsep.join(one for one in os.get_exec_path() if Path(one) != PROGRAM.parent)}
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HOLDFAST_", "TEMPORAL_", "COLUMNS"))
        }
        return {**ours, **path_of, "HOLDFAST_HOME": str(self.home), "HOLDFAST_API_PORT": "0", **more}

    def __call__(self, *arguments: str | Path, **environment: str) -> Ended:
        """Run a command to its end, in a process that does not have to import anything first."""
        words = [str(one) for one in arguments]
        return Ended(*forks.run(PROGRAM, words, self._directory, self._environment(environment), _SECONDS))

    @contextmanager
    def up(self) -> Iterator[Endpoints]:
        """Keep a stack up, end it with SIGTERM, and see that it ends well and leaves nothing behind."""
        process = self.start("up")
        try:
            endpoints = eventually(lambda: self._endpoints(process), within=60)
            assert endpoints is not None
            yield endpoints
            children = self.children()
            process.send_signal(signal.SIGTERM)
            ended = finish(process)
            assert ended.code == 0, ended
            assert endpoints.temporal_ui in ended.out + ended.err
            assert f"API            {endpoints.api}\n" in ended.out
            assert f"Temporal       {endpoints.temporal_address}\n" in ended.out
            assert f"Read payloads  {endpoints.api}/codec/login\n" in ended.out
            assert f"Sandbox        {endpoints.stripe_api_base}" in ended.out
            assert f"{shlex.quote(str(PROGRAM))} run examples/website-redesign.yaml\n" in ended.out
            assert not any(runs(pid) for pid in children.values())
        finally:
            process.kill()

    def children(self) -> dict[str, int]:
        """The processes of the running stack by name."""
        with suppress(FileNotFoundError):
            return {child["name"]: child["pid"] for child in json.loads((self.home / "children.json").read_text())}
        return {}

    def runs(self) -> list[Run]:
        """What was played with this home, the latest first: two of one second are told apart by no name."""
        found = (self.home / "runs").glob("*/run.json")
        records = sorted(found, key=lambda one: one.stat().st_mtime_ns, reverse=True)
        return [Run(**json.loads(record.read_text())) for record in records]

    def _endpoints(self, process: subprocess.Popen[str]) -> Endpoints | None:
        assert process.poll() is None, finish(process)
        return running(self.home)


@dataclass(frozen=True)
class Books:
    """A stack's books and its gateway's, as tests look at them."""

    endpoints: Endpoints

    def engine(self) -> Engine:
        """The program's own kind of connection."""
        return connect(self.endpoints.database_url, 2)

    def rows(self) -> dict[str, tuple[int, str]]:
        """What every table says: the number of its rows, and a fingerprint of them."""
        with psycopg.connect(self.endpoints.migration_url.replace("+psycopg", "")) as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ  # all tables as of one moment
            tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
            said = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t"
            return {
                name: connection.execute(said.format(name).encode()).fetchone()  # type: ignore[misc]
                for (name,) in tables.fetchall()
            }

    def at_rest(self) -> dict[str, tuple[int, str]]:
        """The same once everybody was told and every event has its number, which workers do in their own time.

        Without what the gateway told, which comes when it likes.
        """

        def rested() -> bool:
            rows = self.rows()
            return not rows["outbox"][0] and not rows["unnumbered_event"][0]

        assert eventually(rested)
        return {table: rows for table, rows in self.rows().items() if table != "gateway_event"}

    def transfers(self, destination: str) -> list[int]:
        """What really reached an account at the gateway, oldest first, in minor units."""
        answer = self._gateway("/v1/transfers", limit="100", destination=destination)
        return [transfer["amount"] for transfer in reversed(answer["data"])]

    def journal(self, key: str) -> list[dict[str, Any]]:
        """Every request that reached the gateway with a key."""
        return list(self._gateway("/sandbox/journal", key=key))

    def _gateway(self, path: str, **query: str) -> Any:
        key = self.endpoints.stripe_api_key
        answer = httpx.get(f"{self.endpoints.stripe_api_base}{path}", params=query, auth=(key, ""))
        return answer.raise_for_status().json()


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for the end of a command."""
    try:
        out, err = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Ended(process.returncode, out, err)


def runs(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def squeezed(text: str) -> list[str]:
    """The lines of a report with single blanks, so that a test can say what stands in a table's row."""
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
