"""A list of whom not to deal with, in a file that somebody keeps. CSV with a header, or JSON:

tenant,party,name,reason
ten_01jd3v6k9q4m8n2p5r7s0t1w3x,bob,,chargeback fraud in May
,,Robert Roe,on the sanctions list of 2026-11-20

[{"name": "Robert Roe", "reason": "on the sanctions list of 2026-11-20"}]

An entry is about a party, by its tenant and the tenant's own id, or about a name, of one tenant or of all. Names are
compared without regard to case, width and spaces. Replace the file by renaming: what is written half blocks half.
"""

import csv
import hashlib
import io
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from activities.screening_providers.port import ScreeningImpossibleError, ScreeningUnavailableError
from models.fields import Document, Line, PartyId, TenantId, printable
from models.screening import Screening, Subject

MAX_BYTES: Final = 20_000_000
_COLUMNS: Final = ("tenant", "party", "name", "reason")


class _Entry(Document):
    """Somebody not to deal with, and why."""

    tenant: TenantId | None = None
    party: PartyId | None = None
    name: Line | None = None
    reason: Line = Field(description="For operators, and in refusals for the platform. Buyers and sellers read none.")

    @model_validator(mode="after")
    def _about_one(self) -> Self:
        if (self.party is None) == (self.name is None):
            raise ValueError("an entry has a party or a name, and not both")
        if self.party is not None and self.tenant is None:
            raise ValueError("a party's id means nothing without its tenant")
        return self


_JSON: Final = TypeAdapter(tuple[_Entry, ...])
_Reasons = Mapping[tuple[str | None, str], str]


@dataclass(frozen=True)
class _List:
    """The reasons of one state of the file, by tenant and id, and by tenant (None: all) and name."""

    digest: bytes
    parties: _Reasons
    names: _Reasons

    def reason(self, subject: Subject) -> str | None:
        if because := self.parties.get((subject.tenant, subject.party)):
            return because
        if subject.name is None:
            return None
        name = _plain(subject.name)
        return self.names.get((subject.tenant, name)) or self.names.get((None, name))


class BlocklistProvider:
    """Reads the file for every screening, so that it may be replaced at any time, and parses it when it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: _List | None = None

    @property
    def name(self) -> str:
        """The port's name of it."""
        return "blocklist"

    def screen(self, subject: Subject) -> Screening:
        """Blocked with the list's reason, or nothing against the party. It has no say in the KYC status.

        Raises ``ScreeningUnavailableError`` while the file cannot be read, ``ScreeningImpossibleError`` with the entry
        that is wrong: then the whole list is not used, since what is missing in it would unblock.
        """
        return Screening(blocked_because=self._list().reason(subject))

    def _list(self) -> _List:
        document = self._read()
        digest = hashlib.sha256(document).digest()
        known = self._known
        if known is None or known.digest != digest:
            known = self._known = _parsed(document, digest, _label(self._path))
        return known

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                document = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise ScreeningUnavailableError(f"{self._path} cannot be read: {error.strerror or error}") from None
        if len(document) > MAX_BYTES:
            raise ScreeningImpossibleError(f"{_label(self._path)} has more than {MAX_BYTES} bytes")
        return document


def _parsed(document: bytes, digest: bytes, label: str) -> _List:
    try:
        text = document.decode("utf-8-sig")
        entries = _JSON.validate_json(text) if text.lstrip().startswith(("[", "{")) else _from_csv(text)
    except ValidationError as error:
        raise ScreeningImpossibleError(f"{label}: {_where(error)}") from None
    except UnicodeDecodeError as error:
        raise ScreeningImpossibleError(f"{label}: not UTF-8 at byte {error.start}") from None
    except (csv.Error, ValueError) as error:
        raise ScreeningImpossibleError(f"{label}: {error}") from None
    return _List(
        digest,
        {(one.tenant, one.party): one.reason for one in entries if one.party},
        {(one.tenant, _plain(one.name)): one.reason for one in entries if one.name},
    )


def _from_csv(text: str) -> tuple[_Entry, ...]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    # An empty file is rather one that was not written to its end than a list of nobody.
    if not {"reason", "name"} <= set(rows.fieldnames or ()) <= set(_COLUMNS):
        raise ValueError(f"a list begins with the header {','.join(_COLUMNS)}, or is JSON")
    return tuple(_JSON.validate_python([_cells(row, number) for number, row in enumerate(rows, 1)]))


def _cells(row: dict[Any, Any], number: int) -> dict[str, str]:
    if None in row or None in row.values():
        raise ValueError(f"entry {number}: more or fewer cells than the header")
    return {column: cell for column, cell in row.items() if cell.strip()}


def _where(error: ValidationError) -> str:
    """Which entry is wrong and how, without what stands there: it is somebody's name."""
    first = error.errors(include_input=False, include_url=False)[0]
    place, *field = first["loc"] or ("",)
    entry, why = f"entry {place + 1}: " if isinstance(place, int) else "", first["msg"].removeprefix("Value error, ")
    return f"{entry}{''.join(f'{printable(str(part), 40)}: ' for part in field)}{why}"


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _label(path: Path) -> str:
    return printable(path.name) or "blocklist"
