"""The servers a command works with: a user's own, the stack that runs in the home, or one that is started for it."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from settings import Settings, settings
from starter.deals.runs import Runs
from starter.embedded.child import StackError
from starter.embedded.home import Endpoints, OccupiedError, running
from starter.embedded.stack import Stack
from starter.invocation import EXAMPLE, suggested
from starter.misuse import MisuseError
from starter.progress import Progress, console

if TYPE_CHECKING:
    from ledger.keyring import Keyring

_ASKS_FOR_THE_END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ANOTHER_STARTS_SECONDS: Final = 90.0
_LOOK_AGAIN_SECONDS: Final = 0.2
_ENV_FILE: Final = ".env"
_API_URL: Final = "HOLDFAST_API_DATABASE_URL"
_NO_CONNECTION: Final = {
    "connection refused": "connection refused",
    "dns error": "there is no such host",
    "invalid uri": "this is not an address such as 127.0.0.1:7233",
    "timed out": "no answer in time",
    "certificate": "its TLS certificate is not accepted",
    "unauthenticated": "the credentials are not accepted",
    "permission": "the credentials are not accepted",
}
_ASK_SANDBOX_SECONDS: Final = 2.0
_WELCOME: Final = """Holdfast is up in {home}.

  API            {api}
  API's pages    {api}/docs
  Temporal       {temporal}
  Temporal UI    {ui}
  Read payloads  {api}/codec/login
  Sandbox        {sandbox}{plan}
  Play a deal    {run}
  Secrets        {home}/secrets.json (bootstrap_secret makes tenants)
  Logs           {home}/logs

Press Ctrl-C to stop everything."""


@dataclass(frozen=True)
class Servers:
    """How to reach PostgreSQL and Temporal. ``ui`` is known of an embedded stack; ``lasting`` is one that stays."""

    database_url: str
    temporal: dict[str, Any]
    ui: str | None = None
    lasting: bool = True
    keys: str | None = field(default=None, repr=False)
    api_database_url: str | None = field(default=None, repr=False)

    def keyring(self) -> "Keyring":
        """The master keys. Raises ``MisuseError`` when the settings name none, or what is none."""
        if self.keys is None:
            raise MisuseError(
                "HOLDFAST_KEYS must be set beside servers of your own, as for their workers: see .env.example. "
                'Make a key with: echo "k1:$(openssl rand -base64 32)"'
            )
        return _keyring(self.keys)


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

    return Servers(
        config.database_url.get_secret_value(),
        dict(ClientConfig.load_client_connect_config()),
        keys=config.keys.get_secret_value() if config.keys else None,
        api_database_url=config.api_database_url.get_secret_value() if config.api_database_url else None,
    )


def unreachable(temporal: dict[str, Any], error: Exception) -> str:
    """Why there is no connection to Temporal, of which the SDK tells as its Rust parts print it."""
    reasons = (reason for sign, reason in _NO_CONNECTION.items() if sign in str(error).lower())
    return f"Temporal at {temporal.get('target_host')} cannot be reached: {next(reasons, 'no connection')}"


def migrate_external(config: Settings) -> None:
    """Bring the schema of a user's own PostgreSQL up to date. Raises ``MisuseError``, ``StackError``."""
    if config.migration_url is None or config.database_url is None or config.api_database_url is None:
        raise MisuseError(
            "HOLDFAST_MIGRATION_URL, HOLDFAST_DATABASE_URL and HOLDFAST_API_DATABASE_URL must all be set, each for a "
            "role of its own: see .env.example."
        )
    import psycopg  # noqa: PLC0415 - help and version need none of it
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from ledger.migrate import upgrade  # noqa: PLC0415
    from ledger.migrations.script import KeysNeededError  # noqa: PLC0415

    role, api_role = _role("HOLDFAST_DATABASE_URL", config.database_url), _role(_API_URL, config.api_database_url)
    if role == api_role:
        raise MisuseError(f"HOLDFAST_DATABASE_URL and {_API_URL} both name the role {role}: the API needs its own.")
    keys = _keyring(config.keys.get_secret_value()) if config.keys else None
    try:
        upgrade(config.migration_url.get_secret_value(), role, api_role=api_role, keys=keys)
    except KeysNeededError as error:
        raise MisuseError(f"{error}: see .env.example.") from error
    except (SQLAlchemyError, psycopg.Error) as error:
        raise StackError(f"The schema cannot be brought up to date: {str(error).splitlines()[0]}") from error


def _role(name: str, url: SecretStr) -> str:
    from sqlalchemy import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        role = make_url(url.get_secret_value()).username
    except ArgumentError:
        role = None
    if not role:
        raise MisuseError(f"{name} does not name a role, such as in postgresql+psycopg://role:password@host/database.")
    return role


def _keyring(keys: str) -> "Keyring":
    from ledger.keyring import Keyring  # noqa: PLC0415 - it loads OpenSSL

    try:
        return Keyring.parse(keys)
    except ValueError as error:
        raise MisuseError(f"HOLDFAST_KEYS: {error}") from error


def keep_up(
    config: Settings,
    chosen: Path | None,
    progress: Progress,
    *,
    fault_plan: Path | None = None,
    as_json: bool = False,
) -> None:
    """Keep a stack running until a signal asks for its end; ``chosen`` is the home that the command line names.

    The payment sandbox goes by the ``fault_plan``, a file.

    Says where everything is once it works: for people, or ``as_json`` in one line. Raises ``MisuseError``,
    ``StackError``.
    """
    if external(config):
        raise MisuseError(
            "The settings name servers of your own, so there is nothing to keep up here; "
            f"`{suggested('worker')}` works for them. Unset HOLDFAST_DATABASE_URL and TEMPORAL_ADDRESS to have "
            "everything embedded."
        )
    if fault_plan is not None:
        _check_plan(fault_plan)
    home, enough = chosen or config.home, threading.Event()

    def ready() -> None:
        on_the_end(lambda *_: enough.set())

    starting = _stack(config, home, progress, api=True, fault_plan=fault_plan, ready=ready)
    with starting as (stack, endpoints), progress.paused():
        said = _addresses(home, endpoints) if as_json else _welcome(home, chosen, endpoints)
        console().print(said, soft_wrap=True)
        stack.supervise(enough)


def _check_plan(file: Path) -> None:
    """Raise ``MisuseError`` for a fault plan that the sandbox would refuse, before anything is started."""
    from starter.sandbox.reading import checked, why  # noqa: PLC0415 - only this way needs it
    from starter.sandbox.wire import RefusedError  # noqa: PLC0415

    try:
        checked(file.read_bytes())
    except OSError as error:
        raise MisuseError(f"--fault-plan {file}: {error.strerror}") from error
    except RefusedError as refused:
        raise MisuseError(f"--fault-plan {file}: {why(refused)}") from refused


def _welcome(home: Path, chosen: Path | None, endpoints: Endpoints) -> str:
    return _WELCOME.format(
        home=home,
        api=endpoints.api,
        temporal=endpoints.temporal_address,
        ui=endpoints.temporal_ui,
        sandbox=endpoints.stripe_api_base,
        plan=_plan_in_force(endpoints.stripe_api_base),
        run=suggested("run", EXAMPLE, home=chosen),
    )


def _plan_in_force(sandbox: str) -> str:
    """What is said of the sandbox's fault plan: one that was set while it ran survives a restart."""
    import httpx  # noqa: PLC0415 - only this way needs it

    try:
        plan = httpx.get(f"{sandbox}/sandbox/plan", timeout=_ASK_SANDBOX_SECONDS).json()
    except (httpx.HTTPError, ValueError):
        return ""
    return " (a fault plan is in force: curl it at /sandbox/plan)" if plan else ""


def _addresses(home: Path, endpoints: Endpoints) -> str:
    """Where everything is, without what is secret: that is in the file of secrets, which only its owner may read."""
    return json.dumps(
        {
            "home": str(home.absolute()),
            "api": endpoints.api,
            "docs": f"{endpoints.api}/docs",
            "temporal": endpoints.temporal_address,
            "temporal_namespace": endpoints.temporal_namespace,
            "temporal_ui": endpoints.temporal_ui,
            "codec_login": f"{endpoints.api}/codec/login",
            "sandbox": endpoints.stripe_api_base,
            "secrets": str(home.absolute() / "secrets.json"),
            "logs": str(home.absolute() / "logs"),
        }
    )


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
def _stack(
    config: Settings,
    home: Path,
    progress: Progress,
    *,
    api: bool = False,
    fault_plan: Path | None = None,
    ready: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Stack, Endpoints]]:
    """Start a stack and stop it in the end, whatever happens and however impatient somebody gets."""
    started = False

    def tell(line: str) -> None:  # while it starts, one line gives way to the next; what it meets later stays
        (progress.say if started else progress.doing)(line)

    stack = Stack(
        home,
        progress=tell,
        api=api,
        api_port=config.api_port if api else 0,
        temporal_port=config.temporal_port,
        temporal_ui_port=config.temporal_ui_port,
        fault_plan=fault_plan,
    )
    endpoints = stack.start(ready)
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
    return Servers(
        endpoints.database_url, temporal, endpoints.temporal_ui, lasting, endpoints.keys, endpoints.api_database_url
    )
