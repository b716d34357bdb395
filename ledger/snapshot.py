"""Reading the books as of one moment, while they are in use."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection on which every statement sees the same state: sums of several statements agree with each other.

    It can only read, and takes the time it needs: all of the books are more than what a command may wait for.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        yield connection
        connection.rollback()
