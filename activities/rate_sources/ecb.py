"""The European Central Bank's euro reference rates, or whoever publishes in its XML format. Source:
https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/html/index.en.html.

A table of one day, ``eurofxref-daily.xml``, published on working days at about 16:00 in Frankfurt::

    <gesmes:Envelope xmlns:gesmes="…" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
        <Cube>
            <Cube time='2026-11-20'>
                <Cube currency='USD' rate='1.08'/>

The file with the days of the last three months has the same form, with more days.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Final
from xml.parsers import expat

import httpx
from pydantic import ValidationError

from activities.rate_sources.port import MAX_BYTES, RatesMalformedError, RatesUnavailableError
from models.currencies import EXPONENTS
from models.exchange import PIVOT, Rate
from models.fields import printable

_CUBE: Final = "http://www.ecb.int/vocabulary/2002-08-01/eurofxref Cube"
_log: Final = logging.getLogger(__name__)


class EcbSource:
    """Reads the table over HTTP. ``timeout`` bounds the connection, each wait for more of the answer, and all of it.

    Raises ``ValueError`` for what is not an address such as https://host/path.
    """

    def __init__(self, url: str, timeout: timedelta) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"this is not an address of a table of rates: {error}") from None
        if self._url.scheme not in {"http", "https"} or not self._url.host:
            raise ValueError("the address of a table of rates looks like https://host/path")
        self._seconds = timeout.total_seconds()

    @property
    def name(self) -> str:
        """The host that publishes: an address may hold a password, and this is stored and shown."""
        return self._url.host[:200]

    def fetch(self) -> list[Rate]:
        """The rates of the table. Raises ``RatesUnavailableError``, ``RatesMalformedError``."""
        try:
            return parse(self._read(), self.name)
        except httpx.HTTPError as error:
            raise RatesUnavailableError(f"{self.name} cannot be read: {_said(error)}") from None

    def _read(self) -> bytes:
        # Nothing is followed: an address that has moved is mended by hand, and no other host is ever asked. Nothing
        # is unpacked, so that what is counted is what there is.
        headers = {"Accept": "application/xml", "Accept-Encoding": "identity"}
        deadline = time.monotonic() + self._seconds
        with httpx.stream("GET", self._url, headers=headers, timeout=self._seconds) as response:
            if response.status_code != httpx.codes.OK:
                raise RatesUnavailableError(f"{self.name} answered {_status(response)}")
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > MAX_BYTES:
                    raise RatesMalformedError(
                        f"{self.name} sends more than {MAX_BYTES} bytes: this is no table of rates"
                    )
                if time.monotonic() > deadline:
                    raise RatesUnavailableError(f"{self.name} was not done after {self._seconds:g} seconds")
            return bytes(body)


def parse(document: bytes, source: str) -> list[Rate]:
    """The rates of a document in the ECB's format. A currency we do not know is left out, with a line in the log.

    Raises ``RatesMalformedError`` for anything else that is not as it should be, and for a document type declaration,
    whatever it declares: entities are how XML of a few bytes becomes gigabytes, or reads files.
    """
    table = _Table(source)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = table.refuse_doctype
    parser.StartElementHandler = table.begin
    with _explained(source):
        parser.Parse(document, True)
    if not table.rates:
        raise RatesMalformedError(f"{source}: the document has no rate of a currency we know")
    return list(table.rates.values())


class _Table:
    """What was read so far: expat tells of one element after the other."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._day: date | None = None
        self.rates: dict[tuple[str, date], Rate] = {}

    def refuse_doctype(self, *_: object) -> None:
        raise RatesMalformedError(f"{self._source}: a document type declaration, which a table of rates does not need")

    def begin(self, element: str, attributes: dict[str, str]) -> None:
        if element != _CUBE:
            return
        if "time" in attributes:
            self._day = date.fromisoformat(attributes["time"])
        if "currency" in attributes:
            self._add(attributes["currency"], attributes.get("rate"))

    def _add(self, currency: str, figure: str | None) -> None:
        if self._day is None or figure is None:
            raise RatesMalformedError(f"{self._source}: {printable(currency, 20)} without a rate or a day")
        if currency not in EXPONENTS:
            _log.warning("%s has a rate of %s, which we do not know: left out", self._source, printable(currency, 20))
            return
        if (currency, self._day) in self.rates:
            raise RatesMalformedError(f"{self._source}: two rates of {currency} for {self._day}")
        written = {"base": PIVOT, "quote": currency, "rate": figure, "as_of": self._day, "source": self._source}
        self.rates[currency, self._day] = Rate.model_validate(written)


@contextmanager
def _explained(source: str) -> Iterator[None]:
    try:
        yield
    except expat.ExpatError as error:
        raise RatesMalformedError(f"{source}: this is no XML of the ECB's format: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        why = first["msg"].removeprefix("Value error, ")
        wrong = f"{'.'.join(map(str, first['loc']))} {printable(repr(first['input']), 60)}: {why}"
        raise RatesMalformedError(f"{source}: {wrong}") from None
    except ValueError as error:
        raise RatesMalformedError(f"{source}: {printable(str(error), 200)}") from None


def _status(response: httpx.Response) -> str:
    moved = response.headers.get("location")
    elsewhere = f", which leads to {printable(moved, 200)} and is not followed" if moved else ""
    return f"with HTTP status {response.status_code}{elsewhere}"


def _said(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {printable(str(error)) or 'nothing more is known'}"
