"""What a command says when it does not end well: one message, or one JSON object, and an exit code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from starter.embedded.child import StackError
from starter.endings import FAILED, INTERRUPTED, MISUSED, EndedError
from starter.misuse import MisuseError


@contextmanager
def spoken(*, as_json: bool = False) -> Iterator[None]:
    """Turn what a person has to know into one message and an exit code. A traceback is for errors of the program.

    A script gets ``{"error": {"code", "message", …}}`` on stderr instead, and nothing else there.
    """
    try:
        yield
    except MisuseError as error:
        raise complain("wrong_input", str(error), MISUSED, as_json=as_json) from error
    except EndedError as error:
        message = str(error) if as_json else error.told
        raise complain(error.code, message, error.exit_code, as_json=as_json, **error.members) from error
    except StackError as error:
        raise complain("server_failed", str(error), FAILED, as_json=as_json) from error
    except (KeyboardInterrupt, typer.Abort):
        raise complain("interrupted", "Interrupted.", INTERRUPTED, as_json=as_json) from None


def complain(code: str, message: str, exit_code: int, *, as_json: bool, **members: Any) -> typer.Exit:
    """Say it on stderr; answers the end to raise."""
    typer.echo(json.dumps({"error": {"code": code, "message": message, **members}}) if as_json else message, err=True)
    return typer.Exit(exit_code)


def say(text: str, document: Any, *, as_json: bool) -> None:
    """Write what was found on stdout: text for people as it is, or a document for scripts, in ASCII."""
    typer.echo(json.dumps(document, indent=2) if as_json else text.removesuffix("\n"))
