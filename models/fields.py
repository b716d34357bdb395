"""The field types of every document we accept: bounded, strict, refused with a message that says what is allowed."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from models import durations, forms
from models.currencies import exponent
from models.ids import is_id
from models.money import MAX_AMOUNT

MAX_EVIDENCE_BYTES: Final = 16_384
MAX_WINDOW: Final = timedelta(days=366)
# The context that documents are validated with when somebody gave them to us; what we kept is read without one, and may
# be in forms that we no longer take.
GIVEN: Final = "given"
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class Document(BaseModel):
    """A frozen record that takes no unknown field and guesses no type."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _known_currency(code: str) -> str:
    exponent(code)
    return code


def _is(prefix: str) -> AfterValidator:
    def check(text: str) -> str:
        if not is_id(prefix, text):
            raise ValueError(f"expected an id like {prefix}_01jd3v6k9q4m8n2p5r7s0t1w3x")
        return text

    return AfterValidator(check)


def _plain(text: str) -> str:
    if any(ord(character) < 32 and character not in "\n\t" for character in text) or "\x7f" in text:
        raise ValueError("control characters are not allowed")
    return text


def decimal_string(value: Any) -> Decimal:
    """A rate is written as a string ("0.10"): a JSON number would have passed through a float on its way here."""
    if isinstance(value, Decimal):
        return value
    # Decimal alone would also take 0_1, blanks around it and the digits of every script.
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError('expected a decimal string such as "0.10"')
    try:
        return Decimal(value)
    except ArithmeticError:
        raise ValueError('expected a decimal string such as "0.10"') from None


def _duration(value: Any, info: ValidationInfo) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(durations.EXPECTED)
    return durations.read_kept(value) if info.context is None else durations.read(value)


def _short_window(window: timedelta) -> timedelta:
    if not timedelta(0) < window <= MAX_WINDOW:
        raise ValueError("expected a duration above zero and up to P366D, such as P14D")
    return window


Currency = Annotated[str, AfterValidator(_known_currency)]
Amount = Annotated[int, Field(ge=1, le=MAX_AMOUNT)]
Balance = Annotated[int, Field(ge=0)]
DECIMAL_STRING: Final = WithJsonSchema({"type": "string", "pattern": r"^\d{1,12}(\.\d{1,27})?$", "examples": ["0.10"]})
Share = Annotated[
    Decimal,
    BeforeValidator(decimal_string),
    Field(ge=0, le=1, max_digits=12, decimal_places=10),
    DECIMAL_STRING,
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(durations.written, return_type=str, when_used="json"),
    # Without the format "duration", which is RFC 3339's: it knows no PT1H5S, which ISO 8601 and pydantic do.
    WithJsonSchema({"type": "string", "pattern": durations.PATTERN, "examples": ["P14D"]}),
]
Window = Annotated[Duration, AfterValidator(_short_window)]
# Opaque on purpose: no e-mail address and no name fits, since ids are kept for ever in histories and books.
PartyId = Annotated[str, StringConstraints(pattern=forms.PARTY)]
Category = Annotated[str, StringConstraints(pattern=forms.CATEGORY)]
# What the system does by itself is a command too. Its ids begin with "~" and no one else's may, or a stranger could use
# up the id of a deadline before it comes.
CommandId = Annotated[str, StringConstraints(pattern=forms.COMMAND)]
SystemCommandId = Annotated[str, StringConstraints(pattern=r"^~[\x21-\x7e]{1,254}$")]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True), AfterValidator(_plain)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_plain)]
Metadata = Annotated[dict[Category, Line], Field(max_length=20)]
Reference = Annotated[str, StringConstraints(pattern=forms.REFERENCE)]
PaymentMethod = Annotated[str, StringConstraints(pattern=forms.ACCOUNT)]
Seal = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,80}:[0-9a-f]{64}$")]
TenantId = Annotated[str, _is("ten")]
EscrowId = Annotated[str, _is("esc")]
MilestoneId = Annotated[str, _is("mil")]
DisputeId = Annotated[str, _is("dsp")]
PayoutId = Annotated[str, _is("pay")]
DeadlineId = Annotated[str, _is("dln")]
ChargebackId = Annotated[str, _is("cbk")]
ChargeId = Annotated[str, _is("chg")]


class Evidence(Document):
    """One piece of evidence: a name, and where or what it is."""

    name: Line
    url: Annotated[str, StringConstraints(pattern=forms.URL)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=forms.SHA256)] | None = None
    note: Text | None = None


def printable(text: str | None, limit: int = 300) -> str | None:
    """Somebody else's words (a provider's, say) as text that every store takes: bounded, without control characters."""
    return None if text is None else "".join(one if one.isprintable() else " " for one in text)[:limit]


def _not_bulky(evidence: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    # It travels with the escrow's snapshot through workflow histories, whose payloads are bounded.
    if sum(len(one.model_dump_json().encode()) for one in evidence) > MAX_EVIDENCE_BYTES:
        raise ValueError(
            f"evidence may be {MAX_EVIDENCE_BYTES} bytes in all: put the files elsewhere and give url and sha256"
        )
    return evidence


EvidenceList = Annotated[tuple[Evidence, ...], Field(max_length=20), AfterValidator(_not_bulky)]
