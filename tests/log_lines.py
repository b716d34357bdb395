"""What this process logs, caught by tests as it would be written; the rest of the process logs as before afterwards."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from starter.logs import Format, Level, configure


@contextmanager
def logged(format: Format = "json", level: Level = "info") -> Iterator[io.StringIO]:  # noqa: A002
    """Have logs written to the stream that this yields."""
    loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
    levels = [(logger, logger.level) for logger in loggers]
    raised, handlers = logging.raiseExceptions, list(logging.getLogger().handlers)
    stream = io.StringIO()
    configure(format, level, stream)
    try:
        yield stream
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        logging.captureWarnings(capture=False)
        logging.raiseExceptions = raised
        logging.getLogger().handlers[:] = handlers
        for logger, earlier in levels:
            logger.setLevel(earlier)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line, which has to be JSON and nothing else."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]
