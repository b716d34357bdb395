"""Who is told what: an event of the books as messages for buyer, seller and operator, each in their language.

Pure text in, pure text out. What people wrote (titles, reasons) is quoted on one line and bounded: it can neither add a
header nor pass for a paragraph of ours.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from models.fields import printable
from models.money import Money
from models.notification_texts import (
    EVENTS,
    FOOTER,
    HOLDS,
    REHEARSAL,
    RESOLUTIONS,
    UNKNOWN_EVENT,
)
from models.telling import Audience, Language, Telling

Role = Literal["buyer", "seller", "operator"]

DEFAULT_LANGUAGE: Final[Language] = "en"
SUBJECT_CHARACTERS: Final = 150
_TITLE_CHARACTERS: Final = 70
_QUOTED_CHARACTERS: Final = 500
_THAI: Final = re.compile("[\u0e00-\u0e7f]")
_UNSAID: Final = "…"


@dataclass(frozen=True)
class Contact:
    """How somebody is reached: ``party`` is the tenant's own id (None for the operator), ``language`` en or th."""

    party: str | None
    email: str | None = None
    language: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened, as the books recorded it; amounts in ``data`` are minor units.

    ``escrow`` is None for what happened to a tenant.
    """

    id: str
    type: str
    tenant: str
    escrow: str | None
    version: int
    data: Mapping[str, Any]
    occurred_at: datetime


@dataclass(frozen=True)
class Agreement:
    """What a text quotes of the escrow: titles by milestone's id, and whom each payout goes to.

    ``descriptions`` of milestones are by id too: where one is in Thai and the title is not, it is the title in Thai.
    """

    title: str
    currency: str
    milestones: Mapping[str, str] = field(default_factory=dict)
    payouts: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class News:
    """An event with all that telling it needs. ``rehearsal``: it is of a tenant in test mode, no money is meant."""

    event: Event
    agreement: Agreement | None = None
    buyer: Contact | None = None
    seller: Contact | None = None
    operator: Contact | None = None
    rehearsal: bool = False


@dataclass(frozen=True)
class Message:
    """One piece of news for one recipient. ``subject`` is one line, ``body`` plain text of a few.

    ``gist`` is the subject without anybody's words (titles are left out): what a log may keep.
    """

    event: Event
    role: Role
    party: str | None
    email: str | None
    language: Language
    subject: str
    body: str
    gist: str


def messages(news: News) -> tuple[Message, ...]:
    """Every message that an event means: none for what concerns nobody, one for the operator if nobody knows it."""
    texts = _texts(news.event) if news.agreement or news.event.escrow is None else None
    told: dict[Role, Message] = {}
    for telling in (UNKNOWN_EVENT,) if texts is None else texts:
        for role, contact in _audience(telling, news):
            told.setdefault(role, _message(telling, news, role, contact))
    return tuple(told.values())


def _texts(event: Event) -> tuple[Telling, ...] | None:
    if event.type == "payout.held" and (texts := HOLDS.get(str(event.data.get("hold")))):
        return texts
    return EVENTS.get(event.type)


def _audience(telling: Telling, news: News) -> Iterator[tuple[Role, Contact]]:
    for audience in telling.to:
        role = _role(audience, news)
        contact: Contact | None = getattr(news, role) if role else None
        if role and contact:
            yield role, contact


def _role(audience: Audience, news: News) -> Role | None:
    match audience:
        case "concerned":
            return _concerned(news)
        case "concerned_buyer":
            return "buyer" if _concerned(news) == "buyer" else None
        case "concerned_seller":
            return "seller" if _concerned(news) == "seller" else None
        case "buyer" | "seller" | "operator":
            return audience


def _concerned(news: News) -> Role:
    """The side whose money it is: an event says so itself, or by its payout; the seller where it says nothing."""
    data, payouts = news.event.data, news.agreement.payouts if news.agreement else {}
    party = data.get("party") or payouts.get(str(data.get("payout")))
    return "buyer" if news.buyer and party == news.buyer.party else "seller"


def _message(telling: Telling, news: News, role: Role, contact: Contact) -> Message:
    language: Language = "th" if contact.language == "th" else DEFAULT_LANGUAGE
    values = _values(news, language)
    subject, body = telling.wording(language)
    lines = (_filled(line, values) for line in body.splitlines())
    text = "\n".join(line for line in lines if line is not None)
    wordless = values | {name: _UNSAID for name in ("title", "milestone") if name in values}
    return Message(
        event=news.event,
        role=role,
        party=contact.party,
        email=contact.email,
        language=language,
        subject=_heading(subject, values, news, language),
        body=f"{text}\n\n{FOOTER[language].format_map(values)}\n",
        gist=_heading(subject, wordless, news, language),
    )


def _heading(subject: str, values: Mapping[str, str], news: News, language: Language) -> str:
    """The subject with its values, or a general one where the event lacks them."""
    heading = _filled(subject, values) or _filled(UNKNOWN_EVENT.wording(language)[0], values) or news.event.type
    return quoted(f"{REHEARSAL[language]} {heading}" if news.rehearsal else heading, SUBJECT_CHARACTERS)


def _filled(line: str, values: Mapping[str, str]) -> str | None:
    """The line with its values; None when the event does not have them all, so that nothing reads ``None``."""
    try:
        return line.format_map(values)
    except KeyError:
        return None


def _values(news: News, language: Language) -> dict[str, str]:
    """What texts may quote. What the event does not have is absent."""
    event, agreement = news.event, news.agreement
    data = event.data
    values = {"escrow": event.escrow or _UNSAID, "event": event.id, "type": event.type}
    values["details"] = quoted(json.dumps(dict(data), ensure_ascii=False), _QUOTED_CHARACTERS)
    values |= {
        name: quoted(data[name], _QUOTED_CHARACTERS)
        for name in ("reason", "code", "kind", "hold", "payout", "dispute")
        if isinstance(data.get(name), str) and data[name]
    }
    if resolution := RESOLUTIONS.get(str(data.get("resolution") or data.get("outcome"))):
        values["resolution"] = resolution[language]
    if agreement is None:
        return values
    values["title"] = quoted(agreement.title, _TITLE_CHARACTERS)
    if title := _milestone_title(agreement, str(data.get("milestone")), language):
        values["milestone"] = quoted(title, _TITLE_CHARACTERS)
    amount = data.get("amount", data.get("total"))
    if type(amount) is int:
        values["amount"] = str(Money(amount, agreement.currency))
    return values


def _milestone_title(agreement: Agreement, milestone: str, language: Language) -> str | None:
    """Its title; in Thai the description that a template gave it (``models.templates``: the title in Thai)."""
    title = agreement.milestones.get(milestone)
    in_thai = agreement.descriptions.get(milestone, "")
    return in_thai if language == "th" and title and _THAI.search(in_thai) and not _THAI.search(title) else title


def quoted(text: str, limit: int) -> str:
    """Somebody's words on one line: no control or formatting characters, bounded."""
    line = " ".join((printable(text, len(text)) or "").split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"
