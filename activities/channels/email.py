"""E-mail over SMTP. Encrypted unless the address of the server says otherwise; a server's refusal is told by its code.

What the server says in words is not kept: it usually quotes the recipient's address.
"""

import re
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from activities.channels.port import ChannelUnavailableError, UndeliverableError
from models.notifications import Message, News, messages

Security = Literal["starttls", "tls", "none"]

# For each step of a conversation, of which there are about ten.
_STEP_SECONDS: Final = 5
_SCHEMES: Final[dict[str, tuple[Security, int]]] = {
    "smtp": ("starttls", 587),
    "smtps": ("tls", 465),
    "smtp+plain": ("none", 25),
}
# Seven bits, because not every server on the way takes eight.
_POLICY: Final = SMTP.clone(cte_type="7bit")
_ENHANCED_CODE: Final = re.compile(rb"[245]\.\d{1,3}\.\d{1,3}\b")


@dataclass(frozen=True)
class MailServer:
    """Where mail is handed in, and from whom. ``starttls`` is required where it is named: never silently in clear."""

    host: str
    port: int
    security: Security
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, sender: str) -> "MailServer":
        """Read ``smtp://user:password@host:587`` (STARTTLS), ``smtps://`` (TLS at once) or ``smtp+plain://`` (neither).

        ``sender`` is ``Name <address>`` or an address. Raises ``ValueError``, which quotes no password.
        """
        try:
            parts = urlsplit(url)
            host, given = parts.hostname, parts.port
        except ValueError:  # its own words may quote a password with a slash in it
            raise ValueError("the mail server's address cannot be read: are characters like / written %2F?") from None
        if parts.scheme not in _SCHEMES or not host:
            raise ValueError(f"expected a mail server like {', '.join(f'{one}://host' for one in _SCHEMES)}")
        security, usual = _SCHEMES[parts.scheme]
        if security == "none" and parts.password:
            raise ValueError("a password is not sent over smtp+plain: use smtp or smtps")
        _address(parseaddr(sender)[1])
        return cls(
            host=host,
            port=given or usual,
            security=security,
            sender=sender,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class EmailChannel:
    """Plain-text mail to everybody who has an address; one conversation with the server per message."""

    name = "email"

    def __init__(self, server: MailServer, step_seconds: int = _STEP_SECONDS) -> None:
        self._server = server
        self._step_seconds = step_seconds
        self._tls = ssl.create_default_context()

    def addressed(self, news: News) -> Sequence[Message]:
        """Those the news concerns, as far as an address is known."""
        return [message for message in messages(news) if message.email]

    def hand_over(self, message: Message) -> None:
        """Give the mail to the server. What a server refuses of one mail is definite; that there is none is not."""
        try:
            mail = self._mail(message)
        except ValueError:
            raise UndeliverableError("this is not an address that mail can be sent to") from None
        try:
            smtp = self._connected()
            try:
                smtp.send_message(mail, self._sender.addr_spec, [mail["To"].addresses[0].addr_spec])
                with suppress(OSError):  # taken is taken, however the server says goodbye
                    smtp.quit()
            finally:
                smtp.close()
        except smtplib.SMTPRecipientsRefused as error:
            raise _refusal(*next(iter(error.recipients.values()))) from None
        except smtplib.SMTPDataError as error:
            raise _refusal(error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPResponseException as error:  # greeting, login, sender: it is us whom it does not like
            code = _spelled(error.smtp_code, error.smtp_error)
            raise ChannelUnavailableError(f"the mail server does not accept us: {code}") from None
        except OSError as error:  # smtplib's own errors are of this kind too
            raise ChannelUnavailableError(f"no conversation with the mail server: {type(error).__name__}") from None

    @property
    def _sender(self) -> Address:
        name, address = parseaddr(self._server.sender)
        return _address(address, name)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage(_POLICY)
        mail["From"] = self._sender
        mail["To"] = _address(message.email or "")
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(datetime.now(UTC))
        # The same for every attempt: a mail that comes twice can be recognised.
        mail["Message-ID"] = f"<{message.event.id}.{message.role}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
        mail.set_content(message.body)
        mail["Content-Language"] = message.language
        return mail

    def _connected(self) -> smtplib.SMTP:
        """A conversation in which mail may be handed in. Raises what ``smtplib`` raises."""
        server = self._server
        if server.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=self._step_seconds, context=self._tls
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=self._step_seconds)
        try:
            if server.security == "starttls":
                _begin_tls(smtp, self._tls)
            if server.user is not None and server.password is not None:
                smtp.login(server.user, server.password)
        except BaseException:
            smtp.close()
            raise
        return smtp


def _begin_tls(smtp: smtplib.SMTP, context: ssl.SSLContext) -> None:
    try:
        smtp.starttls(context=context)
    except smtplib.SMTPNotSupportedError:
        raise ChannelUnavailableError("the mail server offers no STARTTLS: name it smtps:// or smtp+plain://") from None


def _address(text: str, name: str = "") -> Address:
    """One bare address, checked, its domain as DNS writes it. Raises ``ValueError``."""
    local, _, domain = text.rpartition("@")
    try:
        address = Address(name, addr_spec=f"{local}@{domain.encode('idna').decode()}")
    except (ValueError, IndexError, MessageError) as error:  # the parser's own ways with garbage
        raise ValueError("not an e-mail address") from error
    if not address.username or not address.domain:
        raise ValueError("not an e-mail address")
    return address


def _refusal(code: int, said: bytes | str) -> UndeliverableError | ChannelUnavailableError:
    """What the server said of this mail: 5xx is definite (RFC 5321, 4.2.1)."""
    kind = UndeliverableError if code >= 500 else ChannelUnavailableError
    return kind(f"the mail server refused it: {_spelled(code, said)}")


def _spelled(code: int, said: bytes | str) -> str:
    """``550`` or, where the server gives the code of RFC 3463 too, ``550 5.1.1``."""
    found = _ENHANCED_CODE.match(said if isinstance(said, bytes) else said.encode())
    return f"{code} {found.group().decode()}" if found else str(code)
