"""Reading the books as of one moment, while they are in use."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from ledger.engine import tenant_of


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement sees the same state: sums of several statements agree with each other.

    It can only read. Operators' reports take the time they need: all of the books are more than what a command may wait
    for. One that a tenant asks for over the API has to be done within the usual limit.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        if tenant_of(engine) is None:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        yield connection
        connection.rollback()
