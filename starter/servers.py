"""The servers a command works with: a user's own, the stack that runs in the home, or one that is started for it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import ValidationError

from settings import Settings, settings
from starter.deals.runs import Runs
from starter.embedded.child import StackError
from starter.embedded.home import Endpoints, OccupiedError, running
from starter.embedded.stack import Stack
from starter.invocation import EXAMPLE, suggested
from starter.misuse import MisuseError
from starter.progress import Progress, console

_ASKS_FOR_THE_END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ANOTHER_STARTS_SECONDS: Final = 90.0
_LOOK_AGAIN_SECONDS: Final = 0.2
_ENV_FILE: Final = ".env"
_NO_CONNECTION: Final = {
    "connection refused": "connection refused",
    "dns error": "there is no such host",
    "invalid uri": "this is not an address such as 127.0.0.1:7233",
    "timed out": "no answer in time",
    "certificate": "its TLS certificate is not accepted",
    "unauthenticated": "the credentials are not accepted",
    "permission": "the credentials are not accepted",
}
_WELCOME: Final = """Holdfast is up in {home}.

  Temporal      {temporal}
  Temporal UI   {ui}
  Play a deal   {run}
  Logs          {home}/logs

Press Ctrl-C to stop everything."""


@dataclass(frozen=True)
class Servers:
    """How to reach PostgreSQL and Temporal. ``ui`` is known of an embedded stack; ``lasting`` is one that stays."""

    database_url: str
    temporal: dict[str, Any]
    ui: str | None = None
    lasting: bool = True


def read_settings() -> Settings:
    """The settings of this process. Raises ``MisuseError`` naming the variables that are wrong.

    Ours are read from ``.env`` as well; Temporal's SDK looks at the environment alone, so its settings go there.
    """
    for name, value in dotenv_values(_ENV_FILE).items():
        if name.startswith("TEMPORAL_") and value is not None:
            os.environ.setdefault(name, value)
    try:
        return settings()
    except ValidationError as error:
        wrong = (
            f"HOLDFAST_{'_'.join(map(str, one['loc'])).upper()}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise MisuseError("\n".join(wrong)) from error


def external(config: Settings) -> Servers | None:
    """The servers that the settings name; None when they name none. Raises ``MisuseError`` for half of them."""
    address = os.environ.get("TEMPORAL_ADDRESS")
    if config.database_url is None and address is None:
        return None
    if config.database_url is None or address is None:
        given, absent = "HOLDFAST_DATABASE_URL", "TEMPORAL_ADDRESS"
        if config.database_url is None:
            given, absent = absent, given
        raise MisuseError(
            f"{given} is set, but {absent} is not. Set both to use servers of your own, or neither to have "
            "everything embedded."
        )
    from temporalio.envconfig import ClientConfig  # noqa: PLC0415 - costs a second that only this way needs

    return Servers(config.database_url.get_secret_value(), dict(ClientConfig.load_client_connect_config()))


def unreachable(temporal: dict[str, Any], error: Exception) -> str:
    """Why there is no connection to Temporal, of which the SDK tells as its Rust parts print it."""
    reasons = (reason for sign, reason in _NO_CONNECTION.items() if sign in str(error).lower())
    return f"Temporal at {temporal.get('target_host')} cannot be reached: {next(reasons, 'no connection')}"


def migrate_external(config: Settings) -> None:
    """Bring the schema of a user's own PostgreSQL up to date. Raises ``MisuseError``, ``StackError``."""
    if config.migration_url is None or config.database_url is None:
        raise MisuseError("HOLDFAST_MIGRATION_URL and HOLDFAST_DATABASE_URL must both be set: see .env.example.")
    from sqlalchemy import make_url  # noqa: PLC0415 - help and version need none of it
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from ledger.migrate import upgrade  # noqa: PLC0415

    try:
        role = make_url(config.database_url.get_secret_value()).username
        upgrade(config.migration_url.get_secret_value(), role or "holdfast_app")
    except SQLAlchemyError as error:
        raise StackError(f"The schema cannot be brought up to date: {str(error).splitlines()[0]}") from error


def keep_up(config: Settings, chosen: Path | None, progress: Progress) -> None:
    """Keep a stack running until a signal asks for its end; ``chosen`` is the home that the command line names.

    Raises ``MisuseError``, ``StackError``.
    """
    if external(config):
        raise MisuseError(
            "The settings name servers of your own, so there is nothing to keep up here; "
            f"`{suggested('worker')}` works for them. Unset HOLDFAST_DATABASE_URL and TEMPORAL_ADDRESS to have "
            "everything embedded."
        )
    home, enough = chosen or config.home, threading.Event()
    with _stack(config, home, progress) as (stack, endpoints):
        on_the_end(lambda *_: enough.set())
        with progress.paused():
            welcome = _WELCOME.format(
                home=home,
                temporal=endpoints.temporal_address,
                ui=endpoints.temporal_ui,
                run=suggested("run", EXAMPLE, home=chosen),
            )
            console().print(welcome, soft_wrap=True)
            stack.supervise(enough)


def on_the_end(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have the signals that ask for our end call the handler, but for those we were started to ignore (nohup)."""
    for number in _ASKS_FOR_THE_END:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def embedded(config: Settings, home: Path, runs: Runs, progress: Progress) -> Iterator[Servers]:
    """The running stack of the home, or a fresh one that is supervised and taken down again. Raises ``StackError``."""
    with runs.using_the_stack() as nobody_else_does:
        if endpoints := running(home):
            progress.say(f"Using the stack that runs in {home}.")
            yield _servers(endpoints, lasting=True)
            return
        try:
            with _stack(config, home, progress) as (stack, endpoints), _supervised(stack):
                try:
                    yield _servers(endpoints, lasting=False)
                finally:
                    _let_others_finish(nobody_else_does, progress)
        except OccupiedError as error:
            yield _servers(_started_by_another(error, home, progress), lasting=True)


def servers_with_books(
    own: Servers | None, home: Path, chosen: Path | None, progress: Progress
) -> AbstractContextManager[Servers]:
    """Those that the settings name, the stack that runs, or one for the time of the command, if there are books at all.

    Raises ``MisuseError`` where nothing was ever played.
    """
    if own:
        return nullcontext(own)
    if not running(home) and not (home / "postgres").exists():
        raise MisuseError(
            f"There are no books in {home} yet. Play a deal first: {suggested('run', EXAMPLE, home=chosen)}"
        )
    return embedded(read_settings(), home, Runs(home), progress)


@contextmanager
def _stack(config: Settings, home: Path, progress: Progress) -> Iterator[tuple[Stack, Endpoints]]:
    """Start a stack and stop it in the end, whatever happens and however impatient somebody gets."""
    started = False

    def tell(line: str) -> None:  # while it starts, one line gives way to the next; what it meets later stays
        (progress.say if started else progress.doing)(line)

    stack = Stack(
        home,
        progress=tell,
        temporal_port=config.temporal_port,
        temporal_ui_port=config.temporal_ui_port,
    )
    endpoints = stack.start()
    started = True
    try:
        yield stack, endpoints
    finally:
        progress.doing("Stopping the stack.")
        with _undisturbed():
            stack.stop()


@contextmanager
def _supervised(stack: Stack) -> Iterator[None]:
    """Whatever of the stack dies meanwhile is started again."""
    enough = threading.Event()
    supervisor = threading.Thread(target=stack.supervise, args=(enough,), name="supervisor")
    supervisor.start()
    try:
        yield
    finally:
        enough.set()
        supervisor.join()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal keep us from stopping the servers in order; a second Ctrl-C would not make it quicker."""
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in _ASKS_FOR_THE_END}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _let_others_finish(nobody_else_does: Callable[[], bool], progress: Progress) -> None:
    if nobody_else_does():
        return
    progress.doing("Another run uses this stack: waiting for its end.")
    while not nobody_else_does():
        time.sleep(_LOOK_AGAIN_SECONDS)


def _started_by_another(occupied: StackError, home: Path, progress: Progress) -> Endpoints:
    """Wait for a stack that another process is just starting. Raises ``StackError`` when none comes of it."""
    progress.doing("Another process is starting the stack: waiting for it.")
    give_up = time.monotonic() + _ANOTHER_STARTS_SECONDS
    while time.monotonic() < give_up:
        if endpoints := running(home):
            return endpoints
        time.sleep(_LOOK_AGAIN_SECONDS)
    raise occupied


def _servers(endpoints: Endpoints, *, lasting: bool) -> Servers:
    temporal = {"target_host": endpoints.temporal_address, "namespace": endpoints.temporal_namespace}
    return Servers(endpoints.database_url, temporal, endpoints.temporal_ui, lasting)
