"""What reaches people by mail and on the console, and what becomes of it when it cannot."""

import io
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme

from activities.channels.console import ConsoleChannel
from activities.channels.email import EmailChannel
from ledger import reads, tenants
from models.errors import RefusedError
from models.states import State
from tests.market import KEYS, Market
from tests.post_office import PASSWORD, REFUSED, PostOffice, post_office
from tests.telling import (
    address,
    courier,
    drain,
    had_address,
    head,
    know,
    known,
    make_due,
    record,
    told,
    towns,
    waiting,
)


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A post office of the test's own."""
    with post_office() as open_office:
        yield open_office


@pytest.fixture
def town(market: Market) -> Iterator[Market]:
    """A market whose parties have addresses, and nothing left to tell."""
    with towns(market) as town:
        yield town


@pytest.mark.parametrize("email", ["nobody", "a@b@c", "a b@c.example", "a@b.example\r\nBcc: c@d.example", "@", "a@"])
def test_an_address_that_could_carry_a_header_is_not_kept(town: Market, email: str) -> None:
    """It is refused, and the address of before stays."""
    with pytest.raises(RefusedError, match="email"):
        know(town, "alice", email=email)
    assert known(town, "alice").email == address(town, "alice")


def test_a_mail_is_well_formed(town: Market, office: PostOffice) -> None:
    """Seven-bit, encoded headers, no answer wanted, and an id of the event and its reader."""
    escrow = town.create()
    drain(courier(town, office.channel()))
    (raw,) = (raw for raw in office.raw if b"bob@" in raw)
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) <= 998
    message = office.to(address(town, "bob"))[0].message
    event = reads.events(town.engine, escrow.id)[0]["id"]
    assert message["Message-ID"] == f"<{event}.seller@market.example>"
    assert message["From"].addresses[0].display_name == "Märkt"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "th"
    assert abs((parsedate_to_datetime(message["Date"]) - datetime.now(UTC)).total_seconds()) < 60


def test_edge_44_a_title_adds_no_header(town: Market, office: PostOffice) -> None:
    """A title with line breaks and commas is text in the subject, and nothing else."""
    town.create(title="x\tBcc:\teve@example.com, <script>")
    drain(courier(town, office.channel()))
    (mail,) = office.to(address(town, "alice"))
    assert mail.subject == "[TEST] Your agreement “x Bcc: eve@example.com, <script>” is ready"
    assert mail.message["Bcc"] is None
    assert {address for address in office.asked if "eve" in address} == set()


def test_a_party_without_an_address_gets_no_mail_and_a_line_on_the_console(town: Market, office: PostOffice) -> None:
    """The console is another channel: it tells everybody, in one line each, and never an address."""
    tenants.erase_party(town.engine, KEYS, town.tenant, "bob")
    know(town, "bob", language="th")
    log = io.StringIO()
    escrow = town.create()
    drain(courier(town, ConsoleChannel(log), office.channel()))
    assert told(office, town, "bob") == []
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["escrow"], line["to"], line["language"]) for line in lines] == [
        (escrow.id, "buyer", "en"),
        (escrow.id, "seller", "th"),
    ]
    assert "@" not in log.getvalue()


def test_a_console_that_cannot_be_written_holds_nobodys_mail_back(town: Market, office: PostOffice) -> None:
    """A closed log is definite for the log alone."""
    log = io.StringIO()
    log.close()
    escrow = town.create()
    drain(courier(town, ConsoleChannel(log), office.channel()))
    assert told(office, town, "alice") == ["escrow.created"]
    assert ("escrow.created", "console", "buyer", "undeliverable") in record(town, escrow)


@pytest.mark.parametrize("at", ["recipient", "data"])
def test_a_definite_refusal_is_recorded_and_the_next_event_goes_on(town: Market, office: PostOffice, at: str) -> None:
    """A 5xx is not tried again; what the server said with the address in it is not kept, its code is."""
    answers = office.answers if at == "recipient" else office.to_data
    answers[address(town, "alice")] = REFUSED
    escrow = town.at(State.FUNDED)
    drain(courier(town, office.channel()))
    assert waiting(town, escrow) == []
    assert told(office, town, "bob") == ["escrow.created", "escrow.funded"]
    assert office.asked.count(address(town, "alice")) == 2
    assert ("escrow.funded", "email", "buyer", "undeliverable") in record(town, escrow)
    error = town.scalar("SELECT error FROM notification WHERE escrow_id = :e AND status <> 'sent'", e=escrow.id)
    assert error == "the mail server refused it: 550 5.1.1"


def test_an_address_that_no_server_would_take_is_undeliverable(town: Market, office: PostOffice) -> None:
    """It is found out before any server is asked."""
    had_address(town, "alice", "a,b@c.example")
    escrow = town.create()
    drain(courier(town, office.channel()))
    assert record(town, escrow)[0] == ("escrow.created", "email", "buyer", "undeliverable")
    assert told(office, town, "bob") == ["escrow.created"]


@pytest.mark.parametrize("how", ["dead", "hanging", "without STARTTLS"])
def test_a_mail_server_that_does_not_work_loses_nothing(town: Market, office: PostOffice, how: str) -> None:
    """Nobody listens, it hangs, it takes mail in clear only: put off with the reason, and told when it is better."""
    channels: dict[str, EmailChannel] = {"without STARTTLS": office.channel("smtp")}
    if how == "dead":
        with post_office() as closed:
            channels["dead"] = closed.channel()
    office.hanging = {address(town, "alice"), address(town, "bob")} if how == "hanging" else set()
    escrow = town.create()
    drain(courier(town, channels.get(how, office.channel())))
    assert waiting(town, escrow) == ["escrow.created"]
    reasons = {"dead": "ConnectionRefusedError", "hanging": "SMTPServerDisconnected", "without STARTTLS": "no STARTTLS"}
    assert reasons[how] in str(head(town, "last_error", escrow))
    assert office.arrived == []
    office.hanging = set()
    make_due(town)
    drain(courier(town, office.channel()))
    assert told(office, town, "alice") == ["escrow.created"]


@pytest.fixture
def secure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PostOffice]:
    """A post office that insists on encryption and a password, with a certificate that this process trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    with post_office(context) as open_office:
        yield open_office


def test_mail_goes_encrypted_and_with_the_password_where_the_server_wants_it(town: Market, secure: PostOffice) -> None:
    """STARTTLS, the certificate checked, then the login; characters that an address escapes are the password's own."""
    town.create()
    drain(courier(town, secure.channel("smtp", f"market:{quote(PASSWORD, safe='')}@")))
    assert told(secure, town, "alice") == ["escrow.created"]
    assert all(secure.encrypted)


def test_a_server_that_does_not_know_our_password_is_asked_again_later(town: Market, secure: PostOffice) -> None:
    """A wrong password (535) is our mistake, not the recipient's: nothing is given up for it."""
    escrow = town.create()
    drain(courier(town, secure.channel("smtp", "market:wrong@")))
    assert "the mail server does not accept us: 535" in str(head(town, "last_error", escrow))
    assert record(town, escrow) == []


def test_a_server_with_a_strange_certificate_gets_no_mail(
    town: Market, secure: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody in between who offers STARTTLS with a certificate of their own learns nothing."""
    monkeypatch.delenv("SSL_CERT_FILE")
    escrow = town.create()
    drain(courier(town, secure.channel("smtp", "market:secret@")))
    assert "SSLCertVerificationError" in str(head(town, "last_error", escrow))
    assert secure.asked == []


def test_an_address_under_a_domain_in_thai_letters_is_reached(town: Market, office: PostOffice) -> None:
    """A domain travels as DNS writes it."""
    had_address(town, "alice", "a@ตัวอย่าง.ไทย")
    town.create()
    drain(courier(town, office.channel()))
    (mail,) = office.to("a@xn--72c1a1bt4awk9o.xn--o3cw4h")
    assert mail.message["Message-ID"].startswith("<evt_")
