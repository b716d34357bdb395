"""The patterns that people meet, each with what it expects: a pattern alone says it to programmers only."""

from collections.abc import Mapping
from typing import Any, Final

PARTY: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
CATEGORY: Final = r"^[a-z0-9][a-z0-9_-]{0,49}$"
COMMAND: Final = r"^[\x21-\x7d][\x21-\x7e]{0,254}$"
REFERENCE: Final = r"^[\x21-\x7e]{1,200}$"
ACCOUNT: Final = r"^[A-Za-z0-9_]{1,100}$"
VISIBLE: Final = r"^[\x21-\x7e]+$"
URL: Final = r"^https?://[\x21-\x7e]{1,1990}$"
SHA256: Final = r"^[0-9a-f]{64}$"
# Enough to be written to: what is before and after the @, and nothing that could end a header.
EMAIL: Final = r"^[^@\s<>(),;:\\\"\[\]]{1,64}@[A-Za-z0-9.-]{1,185}$"

_EXPECTED: Final = {
    PARTY: "an id of 1 to 64 letters, digits, dots, underscores, colons and hyphens, such as alice",
    CATEGORY: "1 to 50 lower-case letters, digits, underscores and hyphens, such as web",
    COMMAND: "1 to 255 visible ASCII characters, not beginning with ~",
    REFERENCE: "1 to 200 visible ASCII characters",
    VISIBLE: "visible ASCII characters, as ids have them",
    ACCOUNT: "1 to 100 letters, digits and underscores, such as acct_bob",
    URL: "an address such as https://example.com/photo.jpg, of up to 2000 visible ASCII characters",
    SHA256: "64 hexadecimal digits in lower case",
    EMAIL: "an address such as bob@example.com",
}


def why(error: Mapping[str, Any]) -> str:
    """What an error of pydantic says, in words that tell what is allowed."""
    expected = _EXPECTED.get((error.get("ctx") or {}).get("pattern", ""))
    if error["type"] == "string_pattern_mismatch" and expected:
        return f"expected {expected}"
    return str(error["msg"]).removeprefix("Value error, ")
