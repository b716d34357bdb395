"""One run of a deal file, from its first command to its report, on whatever servers there are."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, TypeVar

import sqlalchemy.exc
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.exceptions import TemporalError

from ledger.engine import connect
from starter.arrival import OutcomeUnknownError
from starter.deals.deal import Deal
from starter.deals.play import Played, Player
from starter.deals.report import Books, read_books, show, verdict
from starter.deals.report_json import report_json
from starter.deals.runs import Run, Runs
from starter.embedded.child import StackError
from starter.invocation import suggested
from starter.payloads import connected
from starter.progress import Progress, console
from starter.servers import Servers, embedded, external, read_settings, unreachable

T = TypeVar("T")

_REACH_SECONDS: Final = 15.0
_REACH_AGAIN_SECONDS: Final = 0.5
_CONNECTIONS: Final = 4


class Session:
    """Plays one deal for one person, or ``as_json`` for a script. ``home`` is the one that the command line names."""

    def __init__(self, deal: Deal, file: Path, home: Path | None, progress: Progress, *, as_json: bool = False) -> None:
        self._deal = deal
        self._file = file
        self._config = read_settings()
        self._chosen = home
        self._home = home or self._config.home
        self._own = external(self._config)
        self._runs = Runs(self._home)
        self._progress = progress
        self._as_json = as_json
        self._again = f"{suggested('run', file, home=home)} --run-id"
        self._up = suggested("up", home=home)
        self._begun = False

    def begin(self) -> list[str]:
        """Play a new run; answers what did not come out as it should. Raises ``StackError``."""
        if earlier := self._runs.interrupted(self._file):
            self._progress.say(
                f"The last run of this file was interrupted. To go on with that one: {self._again} {earlier.id}"
            )
        return self._play(self._runs.new(self._file, self._deal.digest))

    def resume(self, run_id: str) -> list[str]:
        """Play a run again. Raises ``MisuseError`` for a run that is unknown, or of another deal; ``StackError``."""
        return self._play(self._runs.find(run_id, self._file, self._deal.digest))

    def _play(self, run: Run) -> list[str]:
        with self._servers() as servers:
            engine = connect(servers.database_url, _CONNECTIONS)
            try:
                played, books = asyncio.run(self._played(run, servers, engine))
            except KeyboardInterrupt:
                if self._begun:
                    self._progress.say(f"To go on with this run: {self._again} {run.id}")
                raise
            except OutcomeUnknownError as error:
                hint = f"\nIs a worker running there? `{suggested('worker')}` starts one." if self._own else ""
                raise StackError(f"No answer for too long: {error}{hint}\nTo go on: {self._again} {run.id}") from error
            except TemporalError as error:
                raise StackError(f"Temporal refuses: {error}") from error
            except sqlalchemy.exc.DBAPIError as error:
                raise StackError(f"PostgreSQL refuses: {str(error.orig).splitlines()[0]}") from error
            finally:
                engine.dispose()
            self._progress.stop_spinning()
            if self._as_json:
                sys.stdout.write(report_json(played, books))
            else:
                show(console(), played, books, servers, self._up)
            if played.escrow:
                self._say_where_to_look(run)
            return verdict(played, books)

    def _say_where_to_look(self, run: Run) -> None:
        reports = suggested("report", "fees", "--tenant", run.tenant, home=self._chosen)
        self._progress.say(f"Reports: {reports}")
        self._progress.say(f"Audit:   {suggested('audit', run.escrow, home=self._chosen)}")

    def _servers(self) -> AbstractContextManager[Servers]:
        return nullcontext(self._own) if self._own else embedded(self._config, self._home, self._runs, self._progress)

    async def _played(self, run: Run, servers: Servers, engine: Engine) -> tuple[Played, Books]:
        client = await _reached(
            RuntimeError, lambda: _connect(servers), lambda error: unreachable(servers.temporal, error)
        )
        await _reached(
            sqlalchemy.exc.OperationalError,
            lambda: asyncio.to_thread(_look, engine),
            lambda error: f"PostgreSQL cannot be reached: {str(getattr(error, 'orig', error)).splitlines()[0]}",
        )
        with self._runs.playing(run) as changes:
            self._begun = True
            player = Player(self._deal, run, changes, client, engine, servers.keyring(), self._progress)
            played = await player.play()
            return played, await player.books(read_books, played)


async def _reached(
    away: type[Exception], attempt: Callable[[], Awaitable[T]], explain: Callable[[Exception], str]
) -> T:
    """Reach a server, also when it is just being started again. Raises ``StackError`` when it stays away."""
    give_up = asyncio.get_running_loop().time() + _REACH_SECONDS
    while True:
        try:
            return await attempt()
        except away as error:
            if asyncio.get_running_loop().time() > give_up:
                raise StackError(explain(error)) from error
        await asyncio.sleep(_REACH_AGAIN_SECONDS)


async def _connect(servers: Servers) -> Client:
    return await connected(servers.temporal, servers.keyring())


def _look(engine: Engine) -> None:
    with engine.connect():
        pass
