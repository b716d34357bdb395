"""Where rates come from, over real HTTP and from real files: what is read, and what is refused with which words."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from activities.rate_sources.ecb import EcbSource, parse
from activities.rate_sources.file import FileSource
from activities.rate_sources.port import MAX_BYTES, RatesMalformedError, RatesUnavailableError
from models.exchange import Rate
from tests.gateway.sandbox_process import free_port

PATIENCE = timedelta(seconds=5)
SHORT = timedelta(milliseconds=300)
DAY = date(2026, 11, 20)
TABLE = """<?xml version="1.0" encoding="UTF-8"?>
<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref">
	<gesmes:subject>Reference rates</gesmes:subject>
	<gesmes:Sender>
		<gesmes:name>European Central Bank</gesmes:name>
	</gesmes:Sender>
	<Cube>
		<Cube time='2026-11-20'>
			<Cube currency='USD' rate='1.08'/>
			<Cube currency='JPY' rate='171.94'/>
			<Cube currency='HRK' rate='7.5345'/>
			<Cube currency='THB' rate='36.450'/>
		</Cube>
	</Cube>
</gesmes:Envelope>
"""
RATES = [("USD", "1.08", DAY), ("JPY", "171.94", DAY), ("THB", "36.45", DAY)]
LAUGHS = (
    '<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;">]>'
    "<lolz>&lol2;</lolz>"
)
FILES = f'<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>{TABLE.partition("?>")[2]}'

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def publisher(answer: Answer) -> Iterator[str]:
    """A real HTTP server that answers every GET so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/eurofxref-daily.xml"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sending(body: bytes | str, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Answer with a whole body."""
    content = body.encode() if isinstance(body, str) else body

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def brief(rates: list[Rate]) -> list[tuple[str, str, date]]:
    """What the euro is worth, without who says so."""
    assert {rate.base for rate in rates} == {"EUR"}
    return [(rate.quote, f"{rate.rate:f}", rate.as_of) for rate in rates]


def test_the_banks_table_is_read_over_http(caplog: pytest.LogCaptureFixture) -> None:
    """Every rate with the table's day and the host's name; the kuna, which is no more, is left out and logged."""
    with publisher(sending(TABLE)) as url, caplog.at_level(logging.WARNING):
        source = EcbSource(url, PATIENCE)
        rates = source.fetch()
    assert brief(rates) == RATES
    assert {rate.source for rate in rates} == {source.name} == {"127.0.0.1"}
    assert caplog.messages == ["127.0.0.1 has a rate of HRK, which we do not know: left out"]


def test_a_table_of_several_days_is_read_as_well() -> None:
    """The file of the last ninety days has the same form, and fills in what was missed."""
    more = "<Cube time='2026-11-19'><Cube currency='USD' rate='1.07'/></Cube></Cube></gesmes:Envelope>"
    table = TABLE.replace("\t</Cube>\n</gesmes:Envelope>", more)
    assert brief(parse(table.encode(), "ecb")) == [*RATES, ("USD", "1.07", DAY - timedelta(days=1))]


@pytest.mark.parametrize("status", [301, 403, 404, 429, 500, 503])
def test_a_source_that_answers_with_an_error_is_unavailable(status: int) -> None:
    """Whatever the body says: it may be a table of yesterday."""
    with (
        publisher(sending(TABLE, status)) as url,
        pytest.raises(RatesUnavailableError, match=f"127.0.0.1 answered with HTTP status {status}"),
    ):
        EcbSource(url, PATIENCE).fetch()


def test_no_other_host_is_asked_for_a_source_that_has_moved() -> None:
    """The place it points to is named, for a person to look at, and not followed."""
    asked = threading.Event()
    with publisher(lambda _: asked.set()) as elsewhere, publisher(sending("", 302, {"Location": elsewhere})) as url:
        with pytest.raises(RatesUnavailableError) as unavailable:
            EcbSource(url, PATIENCE).fetch()
        assert f"302, which leads to {elsewhere} and is not followed" in str(unavailable.value)
    assert not asked.is_set()


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(RatesUnavailableError, match=r"127\.0\.0\.1 cannot be read: ConnectError"):
        EcbSource(f"http://127.0.0.1:{free_port()}/", PATIENCE).fetch()


def test_a_source_that_says_nothing_is_unavailable_after_the_timeout() -> None:
    enough = threading.Event()

    def hang(request: BaseHTTPRequestHandler) -> None:
        enough.wait(10)

    with publisher(hang) as url:
        try:
            with pytest.raises(RatesUnavailableError, match="ReadTimeout"):
                EcbSource(url, SHORT).fetch()
        finally:
            enough.set()


def test_a_source_that_says_little_by_little_is_unavailable_after_the_timeout() -> None:
    """Each byte is in time, all of them are not."""
    enough = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not enough.wait(0.02):
            request.wfile.write(b" ")

    with publisher(drip) as url:
        try:
            with pytest.raises(RatesUnavailableError, match=r"not done after 0\.3 seconds"):
                EcbSource(url, SHORT).fetch()
        finally:
            enough.set()


def test_a_table_that_breaks_off_is_unavailable_and_no_part_of_it_is_used() -> None:
    def break_off(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(TABLE)))
        request.end_headers()
        request.wfile.write(TABLE.encode()[:-100])

    with publisher(break_off) as url, pytest.raises(RatesUnavailableError, match="RemoteProtocolError"):
        EcbSource(url, PATIENCE).fetch()


def test_more_than_a_table_can_have_is_not_read_to_its_end() -> None:
    """A stream without end is cut at a megabyte."""
    enough = threading.Event()

    def pour(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while not enough.is_set():
                request.wfile.write(b"<!-- more -->" * 5000)
        except OSError:
            enough.set()

    with publisher(pour) as url, pytest.raises(RatesMalformedError, match="more than 1000000 bytes"):
        EcbSource(url, PATIENCE).fetch()
    assert enough.wait(5)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("", "no XML"),
        ("no rates today", "no XML"),
        ("<!DOCTYPE html><html>Welcome to our hotel's wireless network</html>", "document type declaration"),
        (LAUGHS, "document type declaration"),
        (FILES, "document type declaration"),
        ("<html/>", "no rate of a currency we know"),
        (TABLE[:-20], "no XML"),
        (TABLE.replace("xmlns=", "xmlns:other="), "no rate of a currency we know"),
        (TABLE.replace("1.08", "1,08"), "rate '1,08'"),
        (TABLE.replace("1.08", "N/A"), "rate 'N/A'"),
        (TABLE.replace("1.08", "-1.08"), "decimal string"),
        (TABLE.replace("1.08", "0"), "greater than or equal"),
        (TABLE.replace(" rate='1.08'", ""), "USD without a rate or a day"),
        (TABLE.replace(" time='2026-11-20'", ""), "USD without a rate or a day"),
        (TABLE.replace("2026-11-20", "20 November"), "20 November"),
        (TABLE.replace("JPY", "USD"), "two rates of USD for 2026-11-20"),
        (TABLE.replace("JPY", "EUR"), "one EUR is one EUR"),
    ],
)
def test_a_document_that_is_no_table_of_rates_is_refused_with_what_is_wrong(document: str, says: str) -> None:
    """As a whole: of a table with one wrong rate none is used."""
    with publisher(sending(document)) as url, pytest.raises(RatesMalformedError, match=says) as refused:
        EcbSource(url, PATIENCE).fetch()
    assert "root:" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_what_is_packed_is_not_unpacked() -> None:
    """A megabyte of compressed zeros would be a gigabyte of them."""
    packed = sending(b"\x1f\x8b" + bytes(100), headers={"Content-Encoding": "gzip"})
    with publisher(packed) as url, pytest.raises(RatesMalformedError, match="no XML"):
        EcbSource(url, PATIENCE).fetch()


@pytest.mark.parametrize("address", ["https://", "http://host:port/", "ftp://host/rates.xml", "rates.xml"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="address of a table of rates"):
        EcbSource(address, PATIENCE)


def test_a_password_in_the_address_is_neither_stored_nor_shown() -> None:
    """The source's name and its errors go into the books and into histories."""
    source = EcbSource(f"http://user:hunter2@127.0.0.1:{free_port()}/", PATIENCE)
    with pytest.raises(RatesUnavailableError) as unavailable:
        source.fetch()
    assert "hunter2" not in f"{source.name} {unavailable.value}"


def test_a_file_holds_the_same_table_or_a_short_one(tmp_path: Path) -> None:
    """The ECB's XML, or JSON with any base; the file's name is the source."""
    xml, short = tmp_path / "daily.xml", tmp_path / "rates.json"
    xml.write_text("\n" + TABLE.partition("?>")[2])
    assert brief(FileSource(xml).fetch()) == RATES
    xml.write_text(TABLE, encoding="utf-8-sig")
    assert brief(FileSource(xml).fetch()) == RATES
    short.write_text('{"base": "USD", "as_of": "2026-11-20", "rates": {"THB": "33.750", "EUR": "0.9"}}')
    assert FileSource(short).fetch() == [
        Rate(base="USD", quote=quote, rate=Decimal(rate), as_of=DAY, source="rates.json")
        for quote, rate in (("THB", "33.75"), ("EUR", "0.9"))
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rates": {}}, "rates: "),
        ({"rates": {"USD": 1.08}}, "rates.USD: .*decimal string"),
        ({"rates": {"EUR": "1.08"}}, "one EUR is one EUR"),
        ({"rates": {"HRK": "7.5"}}, "unknown currency 'HRK'"),
        ({"base": "XXX"}, "base: .*unknown currency"),
        ({"as_of": "today"}, "as_of: "),
        ({"of": "2026-11-20"}, "of: "),
    ],
)
def test_a_short_table_that_is_wrong_says_where(tmp_path: Path, wrong: dict[str, object], says: str) -> None:
    """Also a float, which may have lost digits already, and a currency we do not know: somebody mistyped it."""
    file = tmp_path / "rates.json"
    file.write_text(json.dumps({"base": "EUR", "as_of": "2026-11-20", "rates": {"USD": "1.08"}} | wrong))
    with pytest.raises(RatesMalformedError, match=says):
        FileSource(file).fetch()


def test_a_file_that_is_not_there_may_come_and_one_that_is_no_table_may_not_stay(tmp_path: Path) -> None:
    """Missing is unavailable, a directory is too; endless or empty is malformed."""
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(RatesUnavailableError, match="cannot be read"):
            FileSource(path).fetch()
    file = tmp_path / "rates.json"
    for content, says in ((b"", "EOF"), (b" " * (MAX_BYTES + 1), "more than 1000000 bytes"), (b"\xff\xfe{", "JSON")):
        file.write_bytes(content)
        with pytest.raises(RatesMalformedError, match=says):
            FileSource(file).fetch()
