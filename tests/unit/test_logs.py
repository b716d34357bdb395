"""A line of log says what happened, to whom by id, and nothing that somebody wrote or could break in with."""

import io
import json
import logging

import pytest
import structlog

from starter.logs import STRUCK_OUT, Format
from tests.log_lines import lines, logged

FORGED = 'Logo\n{"level": "info", "event": "payout paid"}'
# Whatever a reader, a shipper or a terminal could take for the end of a line, or for an order to move about.
BREAKS = ["\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x1b[2K", "\u202e", "\x08"]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("end", BREAKS, ids=ascii)
def test_no_text_can_begin_a_line_of_its_own(form: Format, end: str) -> None:
    """As an event, a field, a name of a field, in a list, in an exception, or from a library: it is one line."""
    text = f"a title{end}2026-01-01 [info] forged"
    with logged(form) as stream:
        log = structlog.get_logger("starter.test")
        log.info(text)
        log.info("one", kind=text, several=[text, {"deep": text}], **{text: 1})
        logging.getLogger("uvicorn.error").info("said %s", text)
        try:
            raise LookupError(text)
        except LookupError:
            log.exception("failed")
    written = stream.getvalue()
    assert len(written.splitlines()) == 4
    assert end not in written.replace("\n", "") or end == "\n"


def test_a_title_with_a_newline_stays_inside_its_field() -> None:
    """The line that it pretends to be is read back as a part of the text that it was."""
    with logged() as stream:
        structlog.get_logger("starter.test").info("created", kind=FORGED)
    (line,) = lines(stream)
    assert (line["event"], line["kind"]) == ("created", FORGED)


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "secret",
    [
        "Bearer abcdef0123456789",
        "Authorization: Basic YWxpY2U6c2VjcmV0",
        "hf_live_0123456789abcdef",
        "hf_test_0123456789abcdef",
        "sk_live_0123456789",
        "rk_test_0123456789",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2ln",
        "postgresql://holdfast_app:correct-horse@db/holdfast",
        "postgresql://holdfast_app:x4/correct-horse@db/holdfast",
        "alice.doe+work@example.com",
    ],
)
def test_credentials_and_addresses_are_struck_out_wherever_they_stand(form: Format, secret: str) -> None:
    """In an event, a field, a dictionary or an exception; of a database's address the rest stays readable."""
    with logged(form) as stream:
        log = structlog.get_logger("starter.test")
        log.info(f"with {secret} in it", url=secret, more={"list": [f"x {secret}"]})
        logging.getLogger("stripe").warning("refused: %s", secret)
        try:
            raise ValueError(f"bad {secret}")
        except ValueError:
            log.exception("failed")
    kept = ("Bearer", "Authorization:", "Basic", "hf_live_", "hf_test_", "sk_live_", "rk_test_", "whsec_", "eyJ")
    secrets = [part for part in secret.split() if part not in kept]
    revealing = secrets[0]
    for prefix in kept:
        revealing = revealing.removeprefix(prefix)
    if "://" in revealing:
        revealing = "correct-horse"
    assert revealing not in stream.getvalue()
    assert stream.getvalue().count(STRUCK_OUT) >= 4


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("http://127.0.0.1:8420/x", "http://127.0.0.1:8420/x"),
        ("127.0.0.1:8420 and http://[::1]:8420", "127.0.0.1:8420 and http://[::1]:8420"),
        ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("https://api.stripe.com:443?a=b", "https://api.stripe.com:443?a=b"),
        ("postgresql://user:pw@host", f"postgresql://user:{STRUCK_OUT}@host"),
        ("postgresql://user:8420@host:5432/x", f"postgresql://user:{STRUCK_OUT}@host:5432/x"),
        ("x" * 1990 + "postgresql://user:secret@host", "x" * 1990 + "postgresql…"),
        ("x" * 1970 + "postgresql://user:secretive-words@host", "x" * 1970 + "postgresql://user:[redacted]@h…"),
    ],
)
def test_a_password_in_an_address_is_struck_out_and_a_port_is_not(address: str, written: str) -> None:
    """Who looks for a server that does not answer finds its port and path; an @ is what makes a password."""
    with logged() as stream:
        structlog.get_logger("starter.test").info(address)
    assert lines(stream)[0]["event"] == written


@pytest.mark.parametrize(
    "field", ["Authorization", "cookie", "api_key", "client_secret", "password", "body", "title", "email", "User-Agent"]
)
def test_fields_that_no_log_may_keep_are_struck_out_by_their_names(field: str) -> None:
    """However they are written, and in dictionaries of headers as well."""
    with logged() as stream:
        structlog.get_logger("starter.test").info("sent", **{field: "Lorem ipsum"}, about={field.upper(): "Lorem"})
    assert "Lorem" not in stream.getvalue()


def test_an_exception_is_told_by_its_first_line_and_where_it_was_raised() -> None:
    """What PostgreSQL and pydantic quote of rows and input stands in the lines after it."""
    with logged() as stream:
        try:
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise RuntimeError("duplicate key\nDETAIL: Key (name)=(Alice Doe) already exists.") from error
        except RuntimeError:
            structlog.get_logger("starter.test").exception("failed")
    (line,) = lines(stream)
    assert line["raised"] == "RuntimeError: duplicate key <- KeyError: 'inner'"
    assert line["at"][-1].startswith("tests.unit.test_logs:")
    assert "Alice" not in stream.getvalue()


def test_a_line_has_the_ids_that_were_bound_to_its_request() -> None:
    """Libraries' lines too: whatever is logged while a request is answered can be found by its id."""
    with logged() as stream:
        structlog.contextvars.bind_contextvars(request_id="req_1", escrow="esc_1")
        structlog.get_logger("starter.test").info("ours")
        logging.getLogger("stripe").warning("theirs")
    assert [(line["request_id"], line["escrow"], line["event"]) for line in lines(stream)] == [
        ("req_1", "esc_1", "ours"),
        ("req_1", "esc_1", "theirs"),
    ]


def test_temporals_lines_have_the_workflow_and_the_activity_as_fields() -> None:
    """And not once more at the end of the message, as the SDK writes them."""
    about = {"workflow_id": "esc_1", "workflow_type": "EscrowWorkflow", "activity_type": "apply", "attempt": 2}
    with logged() as stream:
        logging.getLogger("temporalio.activity").info(f"command ({about})", extra={"temporal_activity": about})
    (line,) = lines(stream)
    assert line["event"] == "command"
    assert (line["workflow_id"], line["workflow"], line["activity"], line["attempt"]) == (
        "esc_1", "EscrowWorkflow", "apply", 2,
    )  # fmt: skip


def test_libraries_speak_from_a_warning_on_and_never_of_urls_sql_or_bodies() -> None:
    """Even when everything of ours is wanted."""
    with logged(level="debug") as stream:
        for name in ("stripe", "sqlalchemy.engine", "httpx", "uvicorn.access"):
            logging.getLogger(name).info("https://example.com/?token=1")
        structlog.get_logger("ledger.books").debug("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]


def test_on_a_terminal_logs_are_for_people_and_elsewhere_they_are_json() -> None:
    """The form called auto goes by where it is written to."""
    with logged("auto") as stream:
        structlog.get_logger("starter.test").info("hello")
    assert json.loads(stream.getvalue())["event"] == "hello"
    with logged("console") as people:
        structlog.get_logger("starter.test").info("hello", n=1)
    assert "hello" in people.getvalue()
    assert not people.getvalue().startswith("{")


def test_a_stream_that_cannot_be_written_stops_nobody() -> None:
    """A full disk or a closed pipe costs the line, not the command."""
    with logged() as stream:
        assert isinstance(stream, io.StringIO)
        stream.close()
        structlog.get_logger("starter.test").info("lost")
