"""Connections to PostgreSQL: one pool per process, as wide as the process has threads for money."""

from typing import Final

from sqlalchemy import Connection, Engine, create_engine, event

# Row-level security goes by this setting of the transaction, for roles that see one tenant at a time.
SET_TENANT: Final = "SELECT set_config('holdfast.tenant', %(tenant)s, true)"
_TENANT: Final = "holdfast_tenant"

# Below the activities' start-to-close timeout, so that an attempt has ended before the next one begins.
STATEMENT_TIMEOUT_SECONDS = 15
# For those who are waited for: sooner than the statement, so that waiting for a lock takes no connection for long.
_LOCK_TIMEOUT_SECONDS: Final = 5


def connect(database_url: str, connections: int, *, ping: bool = False) -> Engine:
    """Make the pool. It connects on first use, so an unreachable server is only noticed then.

    With ``ping``, for those who are waited for and do not try again by themselves, a connection is tried before it is
    used, and a statement that waits for a lock gives up after 5 s (``psycopg.errors.LockNotAvailable``).
    """
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
    )
    if ping:
        options += f" -c lock_timeout={_LOCK_TIMEOUT_SECONDS}s"
    engine = create_engine(
        database_url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=ping,
        pool_timeout=STATEMENT_TIMEOUT_SECONDS,
        connect_args={
            "options": options,
            "connect_timeout": 5,
            "application_name": "holdfast",
            # The statement timeout is the server's; a server that is frozen or cut off is noticed by these.
            "tcp_user_timeout": STATEMENT_TIMEOUT_SECONDS * 1000,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 2,
        },
    )
    event.listen(engine, "begin", _set_tenant)
    return engine


def for_tenant(engine: Engine, tenant: str) -> Engine:
    """The same pool for one tenant: every transaction begins by naming it, and ends with it."""
    return engine.execution_options(**{_TENANT: tenant})


def tenant_of(engine: Engine) -> str | None:
    """The tenant that ``for_tenant`` named."""
    named: str | None = engine.get_execution_options().get(_TENANT)
    return named


def _set_tenant(connection: Connection) -> None:
    if named := connection.get_execution_options().get(_TENANT):
        connection.exec_driver_sql(SET_TENANT, {"tenant": named})
