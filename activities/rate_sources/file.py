"""Rates from a file, for those whose rates come another way: the ECB's XML, or JSON such as

{"base": "EUR", "as_of": "2026-11-20", "rates": {"USD": "1.08", "THB": "36.45"}}
"""

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from activities.rate_sources import ecb
from activities.rate_sources.port import MAX_BYTES, RatesMalformedError, RatesUnavailableError
from models.exchange import Figure, Rate
from models.fields import Currency, Document, printable


class _Table(Document):
    """The JSON form. Here a currency we do not know is an error: somebody wrote it by hand."""

    base: Currency
    as_of: date
    rates: Annotated[dict[Currency, Figure], Field(min_length=1)]


class FileSource:
    """Reads the file anew each time, so that it may be replaced at any time; better by renaming than by rewriting."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def name(self) -> str:
        """The file's name, without where it lies."""
        return (printable(self._path.name) or "file")[:200]

    def fetch(self) -> list[Rate]:
        """The rates of the file. Raises ``RatesUnavailableError``, ``RatesMalformedError``."""
        try:
            with self._path.open("rb") as file:
                document = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise RatesUnavailableError(f"{self._path} cannot be read: {error.strerror or error}") from None
        if len(document) > MAX_BYTES:
            raise RatesMalformedError(f"{self.name} has more than {MAX_BYTES} bytes: this is no table of rates")
        if document.lstrip().startswith((b"<", b"\xef\xbb\xbf<")):
            return ecb.parse(document, self.name)
        return self._table(document)

    def _table(self, document: bytes) -> list[Rate]:
        try:
            table = _Table.model_validate_json(document)
            return [
                Rate(base=table.base, quote=quote, rate=rate, as_of=table.as_of, source=self.name)
                for quote, rate in table.rates.items()
            ]
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RatesMalformedError(f"{self.name}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
