"""Connections to PostgreSQL: one pool per process, as wide as the process has threads for money."""

from sqlalchemy import Engine, create_engine

# Below the activities' start-to-close timeout, so that an attempt has ended before the next one begins.
STATEMENT_TIMEOUT_SECONDS = 15


def connect(database_url: str, connections: int) -> Engine:
    """Make the pool. It connects on first use, so an unreachable server is only noticed then."""
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
    )
    return create_engine(
        database_url,
        pool_size=connections,
        max_overflow=0,
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
