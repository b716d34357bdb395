"""Logs of every process of ours: one line each on standard error, JSON or for a person, ours and the libraries' alike.

A line names ids and outcomes. Credentials, bodies and what people wrote stay out twice: nothing logs them, and whatever
gets here all the same is struck out. No text can end a line. docs/observability.md lists the fields.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import date, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

STRUCK_OUT: Final = "[redacted]"
_HANDLER: Final = "holdfast"
_OURS: Final = (
    "activities", "ledger", "models", "starter", "workflows", "worker", "__main__", "temporalio.activity",
    "temporalio.workflow",
)  # fmt: skip
# Libraries that tell of their own life at info. All others speak from a warning on: below it they write URLs, SQL and
# bodies. So does uvicorn's access log, which the line per request of starter.api replaces.
_TALKERS: Final = ("uvicorn", "temporalio")
_ADOPTED: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "temporalio", "sqlalchemy", "stripe", "alembic")
_SILENCED: Final = ("uvicorn.access",)

# What libraries and stdlib loggers may add to a line with ``extra``; structlog's own loggers name their fields freely.
_EXTRAS: Final = ("temporal_activity", "temporal_workflow", "command", "command_name", "escrow", "outcome")
_TEMPORAL: Final = {
    "workflow_id": "workflow_id",
    "run_id": "run_id",
    "workflow_type": "workflow",
    "activity_type": "activity",
    "attempt": "attempt",
    "update_id": "update_id",
}

_SENSITIVE: Final = frozenset(
    {
        "address", "body", "cookies", "credentials", "data", "description", "details", "email", "evidence", "headers",
        "ip", "json", "message_body", "payload", "phone", "request_body", "response_body", "text", "title",
        "user_agent",
    }
)  # fmt: skip
_SENSITIVE_ENDINGS: Final = ("authorization", "cookie", "password", "secret", "token", "api_key", "private_key")
_SECRETS: Final = re.compile(
    r"(?P<kept>(?i:authorization['\"]?\s*[:=]\s*['\"]?(?:bearer|basic)?\s*)|(?i:\bbearer\s+)|"
    r"\bhf_(?:live|test)_|\b[srp]k_(?:live|test)_|\bwhsec_|\beyJ)[^\s@,;'\"<>]{4,}|"
    # A password in a URL has an @ behind it; a port has not, or a path in between.
    r"(?P<before>://[^/\s:@]{0,100}:)(?!\d{1,5}[/?#])\S+(?=@)|"
    r"[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{1,190}"
)
_FIRST: Final = ("timestamp", "level", "logger", "event", "request_id")
# What a line may have without our own code naming it: docs/observability.md has all of them.
FIELDS: Final = frozenset({*_FIRST, *_EXTRAS[2:], *_TEMPORAL.values(), "raised", "at"})
_LONGEST: Final = 2000
_DEEPEST: Final = 4
_FRAMES: Final = 12

# Whatever can end a line, move the cursor or turn the direction of writing on a terminal.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def configure(format: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> None:  # noqa: A002
    """Have all logs of this process written to ``stream``, standard error if none is given. Calling again replaces."""
    stream = stream or sys.stderr
    people = format == "console" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if people else _as_json
    handler = logging.StreamHandler(stream)
    handler.set_name(_HANDLER)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(_EXTRAS), _name_temporal],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _tell_exception,
                strike_out,
                *([_on_one_line] if people else []),
                renderer,
            ],
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _take_over(handler, getattr(logging, level.upper()))


def _take_over(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    for earlier in [one for one in root.handlers if one.get_name() == _HANDLER]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    for name in _ADOPTED:
        adopted = logging.getLogger(name)
        adopted.handlers.clear()
        adopted.propagate, adopted.level = True, logging.NOTSET
    for name in _TALKERS:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # a line that cannot be written must not print what it was about


def _name_temporal(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Ids of the workflow and the activity as fields of their own, instead of a record of everything."""
    for record in ("temporal_workflow", "temporal_activity"):
        told = line.pop(record, None)
        if isinstance(told, Mapping):
            line.update({field: told[key] for key, field in _TEMPORAL.items() if told.get(key) is not None})
            said = line.get("event")
            if isinstance(said, str):  # the SDK repeats the record at the end of the message
                line["event"] = said.removesuffix(f" ({told})")
    return line


def _tell_exception(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """What was raised, by the first line of each message, and where. The rest of a message quotes rows and values."""
    raised: Any = line.pop("exc_info", None)
    line.pop("stack_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if not isinstance(error, BaseException):
        return line
    chain: list[str] = []
    trace: TracebackType | None = error.__traceback__
    cause: BaseException | None = error
    while cause is not None and len(chain) < _FRAMES:
        first = str(cause).partition("\n")[0][:300]
        chain.append(f"{type(cause).__name__}: {first}" if first else type(cause).__name__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    line["raised"] = " <- ".join(chain)
    places: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    line["at"] = places[-_FRAMES:]
    return line


def strike_out(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """The line in plain values, without what no log may keep: by the names of fields, and by the look of texts."""
    return {_text(str(key)): STRUCK_OUT if _sensitive(str(key)) else _plain(value) for key, value in line.items()}


def _sensitive(key: str) -> bool:
    name = key.lower().replace("-", "_")
    return name in _SENSITIVE or name.endswith(_SENSITIVE_ENDINGS)


def _plain(value: Any, depth: int = 0) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return _text(value)
        case date() | datetime():
            return value.isoformat()
        case Mapping() if depth < _DEEPEST:
            return {
                _text(str(key)): STRUCK_OUT if _sensitive(str(key)) else _plain(one, depth + 1)
                for key, one in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < _DEEPEST:
            return [_plain(one, depth + 1) for one in value]
        case bytes() | bytearray() | memoryview():
            return STRUCK_OUT
    return _text(str(value))


def _text(text: str) -> str:
    # Struck out first, and then cut: the cut could take away the @ by which a password is known.
    clean = _SECRETS.sub(lambda found: f"{found['kept'] or found['before'] or ''}{STRUCK_OUT}", text[: 2 * _LONGEST])
    return clean if len(text) <= _LONGEST else f"{clean[:_LONGEST]}…"


def _on_one_line(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    return {_visible(key): _visible(value) for key, value in line.items()}


def _visible(value: Any) -> Any:
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return value
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], value)


def _as_json(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
    # Pure ASCII: every letter that something could take for the end of a line is written as an escape.
    first = {key: line[key] for key in _FIRST if key in line}
    return json.dumps({**first, **line}, ensure_ascii=True, default=str).replace("\x7f", "\\u007f")
