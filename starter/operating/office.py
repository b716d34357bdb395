"""Where operators' commands are carried out: on the servers that the settings name, or on the embedded stack."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import psycopg
import sqlalchemy.exc
from psycopg import errors
from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.exceptions import TemporalError

from ledger.engine import connect
from ledger.seals import Seals
from models.errors import ErrorCode, RefusedError
from starter.arrival import OutcomeUnknownError
from starter.embedded.child import StackError
from starter.endings import FAILED, INTERRUPTED, NOT_FOUND, REFUSED, UNKNOWN, EndedError
from starter.invocation import suggested
from starter.payloads import connected
from starter.progress import Progress
from starter.reports.visible import visible
from starter.sender import Sender
from starter.servers import Servers, external, read_settings, servers_with_books, unreachable

T = TypeVar("T")

_CONNECTIONS: Final = 4
_AGAIN: Final = "The same command with --id {} finds out, and moves nothing a second time."


@dataclass(frozen=True)
class Office:
    """The books and the way to the workflows. ``own`` are servers of the user's."""

    engine: Engine
    servers: Servers
    progress: Progress
    own: bool

    def see_to(
        self, work: Callable[[Client, Sender], Awaitable[T]], command: str | None = None, *, told: bool = True
    ) -> T:
        """Have something done through the workflows; ``command`` is the id under which it can be asked for again, which
        is said before anything is sent unless the person was ``told``.

        Raises ``EndedError`` (refused, not_found, outcome_unknown, interrupted) and ``StackError``.
        """
        members = {"command": command} if command else {}
        try:
            if not told:
                self.progress.say(f"Command {command}")
            return asyncio.run(self._done(work))
        except OutcomeUnknownError as error:
            hint = f"\nIs a worker running there? `{suggested('worker')}` starts one." if self.own else ""
            again = f" {_AGAIN.format(command)}" if command else " Asking again goes on."
            raise EndedError(
                UNKNOWN, "outcome_unknown", f"No answer for too long: {error}.{again}{hint}", **members
            ) from error
        except TemporalError as error:
            raise StackError(f"Temporal refuses: {error}") from error
        except KeyboardInterrupt:
            if command is None:
                raise
            raise EndedError(INTERRUPTED, "interrupted", f"Interrupted. {_AGAIN.format(command)}", **members) from None

    async def _done(self, work: Callable[[Client, Sender], Awaitable[T]]) -> T:
        keys = self.servers.keyring()
        try:
            client = await connected(self.servers.temporal, keys)
        except RuntimeError as error:
            raise StackError(unreachable(self.servers.temporal, error)) from error
        return await work(client, Sender(client, self.engine, seals=Seals(keys)))


@contextmanager
def office(chosen: Path | None, *, quiet: bool) -> Iterator[Office]:
    """Open one for the time of a command; ``chosen`` is the home that the command line names, ``quiet`` tells nothing.

    Raises ``MisuseError`` where there are no books, ``StackError``, and ``EndedError`` for whatever is refused.
    """
    config = read_settings()
    home, own = chosen or config.home, external(config)
    with Progress(quiet=quiet) as progress, servers_with_books(own, home, chosen, progress) as servers:
        engine = connect(servers.database_url, _CONNECTIONS)
        try:
            with told_by_name(own=own is not None):
                yield Office(engine, servers, progress, own is not None)
        finally:
            engine.dispose()


@contextmanager
def told_by_name(*, own: bool) -> Iterator[None]:
    """Refusals and a failing PostgreSQL, as a command ends with them."""
    try:
        yield
    except RefusedError as error:
        raise _refused(error) from error
    except (sqlalchemy.exc.OperationalError, psycopg.OperationalError) as error:
        raise StackError(f"PostgreSQL cannot be reached: {_first_line(error)}") from error
    except sqlalchemy.exc.DBAPIError as error:
        old = isinstance(error.orig, errors.UndefinedColumn | errors.UndefinedTable)
        hint = f"\nIs its schema up to date? `{suggested('migrate')}` sees to it." if old and own else ""
        raise StackError(f"PostgreSQL refuses: {_first_line(error)}{hint}") from error


def not_found(what: str, identifier: str, lists: str) -> EndedError:
    """There is no such thing; ``lists`` is the command that lists those there are."""
    return EndedError(
        NOT_FOUND, "not_found", f"there is no {what} {visible(identifier)}; `{suggested(*lists.split())}` lists them"
    )


def _refused(error: RefusedError) -> EndedError:
    refusal, kind = error.refusal, error.refusal.kind
    if kind is ErrorCode.NOT_FOUND:
        return EndedError(NOT_FOUND, refusal.code, visible(refusal.message), details=refusal.details)
    if kind is ErrorCode.INTERNAL_ERROR:
        return EndedError(FAILED, refusal.code, visible(refusal.message), details=refusal.details)
    message = visible(refusal.message)
    told = f"Refused, and nothing moved: {refusal.code}: {message}"
    return EndedError(REFUSED, refusal.code, message, told=told, details=refusal.details)


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "orig", error)).splitlines()
    return lines[0] if lines else type(error).__name__
