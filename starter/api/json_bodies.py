"""JSON that can be read in one way only: parsers differ about a member that comes twice, and about NaN.

Who checks a request and who carries it out may not be the same program; of ``{"amount": 1, "amount": 100}`` one would
see the first and the other the last (RFC 8259, 4), so it is nobody's request.
"""

import json
from typing import Any, NoReturn

from models.fields import printable
from starter.api.problems import ProblemError


def refuse_ambiguous(body: bytes) -> None:
    """Raise ``ProblemError`` (400) for a member that is there twice and for NaN or Infinity.

    What is no JSON at all is left to whoever reads it.
    """
    try:
        json.loads(body, object_pairs_hook=_members, parse_constant=_constant)
    except (ValueError, RecursionError):
        return


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise _malformed(f"the member {printable(twice, 100)!r} is there twice")
    return members


def _constant(name: str) -> NoReturn:
    raise _malformed(f"JSON has no {name}")


def _malformed(why: str) -> ProblemError:
    return ProblemError(400, f"the body cannot be read in one way only: {why}", "malformed")
