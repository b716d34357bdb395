"""A real SMTP server in this process: it takes mail over a socket, and refuses, stalls or hangs as a test asks."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from activities.channels.email import EmailChannel, MailServer
from tests.gateway.sandbox_process import free_port

SENDER: Final = "Märkt <no-reply@market.example>"
PASSWORD: Final = "a/b c"  # noqa: S105 - of this server only
REFUSED: Final = "550 5.1.1 <{0}>: no such mailbox"
BUSY: Final = "451 4.3.0 {0}: try again later"


@dataclass(frozen=True)
class Mail:
    """One mail as it came: to whom by the envelope, and what."""

    to: str
    message: EmailMessage

    @property
    def subject(self) -> str:
        """The subject as a person reads it."""
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        """The body as a person reads it."""
        return str(self.message.get_content())


class PostOffice:
    """What arrived, and how to answer. ``answers`` are replies to a recipient (RCPT), ``on_mail`` sees each mail."""

    def __init__(self) -> None:
        self.arrived: list[Mail] = []
        self.raw: list[bytes] = []
        self.answers: dict[str, str] = {}
        self.to_data: dict[str, str] = {}
        self.asked: list[str] = []
        self.hanging: set[str] = set()
        self.on_mail: Callable[[Mail], object] = lambda mail: None
        self.encrypted: list[bool] = []
        self.port = 0

    def to(self, address: str) -> list[Mail]:
        """What arrived for somebody, in order."""
        return [mail for mail in self.arrived if mail.to == address]

    def channel(self, security: str = "smtp+plain", login: str = "") -> EmailChannel:
        """The real channel to this post office, impatient."""
        url = f"{security}://{login}localhost:{self.port}"
        return EmailChannel(MailServer.parse(url, SENDER), step_seconds=1)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        self.asked.append(address)
        if address in self.hanging:
            await asyncio.Event().wait()
        if address in self.answers:
            return self.answers[address].format(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail."""
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        for address in envelope.rcpt_tos:
            if address in self.to_data:
                return self.to_data[address]
            message = message_from_bytes(content, EmailMessage, policy=default)
            mail = Mail(address, message)
            self.raw.append(content)
            self.encrypted.append(session.ssl is not None)
            self.arrived.append(mail)
            await asyncio.to_thread(self.on_mail, mail)
        return "250 taken"


@contextmanager
def post_office(tls: ssl.SSLContext | None = None, port: int | None = None) -> Iterator[PostOffice]:
    """A post office that is open until the end of the block; with ``tls`` it insists on STARTTLS and a login."""
    office = PostOffice()
    office.port = port or free_port()

    def known(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        right = data.password == PASSWORD.encode()
        return AuthResult(success=right, handled=right)

    controller = Controller(
        office,
        hostname="127.0.0.1",
        port=office.port,
        ready_timeout=20,
        tls_context=tls,
        require_starttls=tls is not None,
        auth_required=tls is not None,
        authenticator=known,
    )
    controller.start()
    try:
        yield office
    finally:
        controller.stop()
