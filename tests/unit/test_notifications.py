"""Who is told what: every event has its words in both languages, and nobody else's words can do harm in them."""

import ast
import re
import string
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from activities.channels.email import MailServer
from models.commands import CloseChargeback, RecordPayout
from models.notification_texts import EVENTS, FOOTER, UNKNOWN_EVENT, Telling
from models.notifications import SUBJECT_CHARACTERS, Agreement, Contact, Event, Message, News, messages
from models.states import TERMINAL
from settings import Settings
from tests.builders import NOW
from tests.unit.source import Source
from tests.unit.test_architecture import of, report
from worker import channels

EVENT_NAME = re.compile(r"(escrow|milestone|dispute|payout|settlement|deadline|chargeback|receivable|command)\.[a-z_]+")
# What the names that are put together can become: ``case.emit(f"payout.{status}")``.
PUT_TOGETHER = {
    "payout.": set(get_args(RecordPayout.model_fields["outcome"].annotation)),
    "chargeback.": set(get_args(CloseChargeback.model_fields["outcome"].annotation)),
    "escrow.": {str(state) for state in TERMINAL},
}
# Everything that any event has, so that every line of every text is filled.
DATA: dict[str, Any] = {
    "amount": 150000, "milestone": "mil_1", "payout": "pay_1", "dispute": "dsp_1", "reason": "the logo is missing",
    "resolution": "split", "code": "fee_policy_not_found", "kind": "auto_approve",
}  # fmt: skip
KNOWN = {*DATA, "title", "type", "details", "escrow", "event"}
TEXTS = [(name, telling) for name, row in EVENTS.items() for telling in row] + [("unknown", UNKNOWN_EVENT)]
AGREEMENT = Agreement("Website redesign", "EUR", {"mil_1": "Design & mockups"}, {"pay_1": "bob", "pay_2": "alice"})


def news(kind: str = "milestone.submitted", agreement: Agreement | None = AGREEMENT, **fields: Any) -> News:
    """News of an event with all the data there is, between alice, who reads English, and bob, who reads Thai."""
    data = fields.pop("data", DATA)
    usual: dict[str, Any] = {
        "buyer": Contact("alice", "alice@example.com", "en"),
        "seller": Contact("bob", "bob@example.com", "th"),
        "operator": Contact(None, "ops@example.com"),
    }
    event = Event("evt_1", kind, "ten_1", "esc_1", 3, data, NOW)
    return News(event, agreement, **(usual | fields))


def only(told: tuple[Message, ...]) -> Message:
    """The one message there is."""
    (message,) = told
    return message


def emitted() -> Iterator[tuple[str, str]]:
    """Every event that the core emits, with its place."""
    for source in of("models"):
        for node in source.nodes():
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".emit"):
                yield from ((name, source.at(node.lineno)) for name in _names(node.args[0], source))


def _names(argument: ast.expr, source: Source) -> Iterator[str]:
    match argument:
        case ast.Constant(value=str(name)):
            yield name
        case ast.JoinedStr(values=[ast.Constant(value=str(prefix)), _]):
            assert prefix in PUT_TOGETHER, f"say in PUT_TOGETHER what {source.at(argument.lineno)} can become"
            yield from (f"{prefix}{one}" for one in PUT_TOGETHER[prefix])
        case _:  # a variable: any event's name in that file may be it
            constants = (node.value for node in source.nodes() if isinstance(node, ast.Constant))
            yield from (one for one in constants if isinstance(one, str) and EVENT_NAME.fullmatch(one))


def test_every_event_that_the_core_emits_has_its_texts() -> None:
    """A new event is told to somebody in both languages, or its row says that nobody needs to know."""
    assert len({name for name, _ in emitted()}) > 20
    report(
        (f"{name} ({place})" for name, place in emitted() if name not in EVENTS),
        "Give these events a row in models/notification_texts.py:",
    )


@pytest.mark.parametrize(("name", "telling"), TEXTS)
def test_both_languages_say_the_same_and_leave_no_gap(name: str, telling: Telling) -> None:
    """English and Thai quote the same values, line by line, and each is in its own letters."""
    for english, thai in zip(telling.en, telling.th, strict=True):
        lines = list(zip(english.splitlines(), thai.splitlines(), strict=True))
        assert all(_placeholders(en) == _placeholders(th) for en, th in lines)
        assert _placeholders(english) <= KNOWN
        assert not re.search("[\u0e00-\u0e7f]", english)
        assert re.search("[\u0e00-\u0e7f]", thai)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_fills_every_line_of_its_texts(name: str) -> None:
    """With all of an event's data, nothing is left out, no brace is left over, and nobody is told twice."""
    told = messages(news(name))
    assert bool(told) == bool(EVENTS[name])
    assert len({message.role for message in told}) == len(told)
    for message in told:
        assert message.language == ("th" if message.role == "seller" else "en")
        assert not set("{}") & set(message.subject + message.body)
        assert "None" not in message.subject + message.body
        assert message.body.endswith(f"{FOOTER[message.language].format(escrow='esc_1', event='evt_1')}\n")


def _placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_the_worked_message_of_a_submission() -> None:
    """The buyer is asked to review, by title and milestone."""
    message = only(messages(news()))
    assert (message.role, message.party, message.email) == ("buyer", "alice", "alice@example.com")
    assert message.subject == "Please review “Design & mockups”"
    assert message.body.startswith("The seller has submitted “Design & mockups” of “Website redesign”.")


def test_a_seller_reads_thai() -> None:
    """An approval in Thai, with the amount as money is written everywhere."""
    message = only(messages(news("milestone.approved")))
    assert (message.role, message.language) == ("seller", "th")
    assert message.subject == "งวดงาน “Design & mockups” ได้รับการอนุมัติ"
    assert "1,500.00 EUR" in message.body


def test_amounts_follow_their_currency() -> None:
    """Yen have no decimals."""
    (buyer, _) = messages(news("escrow.funded", Agreement("Roof", "JPY")))
    assert "150,000 JPY" in buyer.body


def test_a_line_without_its_value_is_left_out() -> None:
    """Nobody reads "Reason: None"."""
    (buyer, seller) = messages(news("escrow.cancelled", data={"reason": None}))
    assert "Reason" not in buyer.body
    assert "เหตุผล" not in seller.body


def test_a_subject_without_its_value_becomes_a_general_one() -> None:
    """A milestone that cannot be found does not keep the news from going out."""
    assert only(messages(news(data={}))).subject == "milestone.submitted on “Website redesign”"


def test_an_event_without_texts_is_told_to_the_operator() -> None:
    """What nobody has worded yet is not lost: the operator gets its particulars."""
    message = only(messages(news("invoice.sent")))
    assert message.role == "operator"
    assert "the logo is missing" in message.body


def test_an_event_without_an_escrow_is_told_to_the_operator() -> None:
    """Without an escrow there are no sides to be told."""
    message = only(messages(news("payout.paid", agreement=None, buyer=None, seller=None)))
    assert (message.role, message.subject) == ("operator", "payout.paid")


def test_without_an_operator_no_one_is_told_what_is_for_operators() -> None:
    """An operator who is not known is no error."""
    assert messages(news("deadline.deferred", operator=None)) == ()


def test_money_news_go_to_the_side_whose_money_it_is() -> None:
    """A payout back to the buyer is the buyer's news; an event may name the party itself; else it is the seller's."""
    assert only(messages(news("payout.paid"))).role == "seller"
    assert only(messages(news("payout.paid", data=DATA | {"payout": "pay_2"}))).role == "buyer"
    assert only(messages(news("receivable.netted", data={"party": "alice", "amount": 5}))).role == "buyer"


def test_a_rehearsal_says_so() -> None:
    """Mail of a tenant in test mode cannot be taken for real money, in either language."""
    (buyer, seller) = messages(news("escrow.funded", rehearsal=True))
    assert buyer.subject.startswith("[TEST] ")
    assert seller.subject.startswith("[ทดสอบ] ")


@given(words=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=2000))
def test_edge_44_nobodys_words_break_out_of_their_line(words: str) -> None:
    """A title or reason adds no line, no control or direction mark, no placeholder, and stays within bounds."""
    agreement = Agreement(words, "EUR", {"mil_1": words})
    for message in messages(news("milestone.reversed", agreement, data=DATA | {"reason": words})):
        assert message.subject.isprintable()
        assert len(message.subject) <= SUBJECT_CHARACTERS
        assert all(line.isprintable() for line in message.body.splitlines())
        assert message.body.count("\n") <= 4
        assert len(message.body) < 1500


def test_edge_44_a_title_that_looks_like_a_template_is_text() -> None:
    """Braces of others are not filled."""
    (buyer, _) = messages(news("escrow.completed", Agreement("{escrow} {0.__class__}\r\nBcc: x@example.com", "EUR")))
    assert buyer.subject == "“{escrow} {0.__class__} Bcc: x@example.com” is completed"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.internal", ("mail.internal", 587, "starttls", None, None)),
        ("smtps://me%40x:p%2Fw@mail.internal", ("mail.internal", 465, "tls", "me@x", "p/w")),
        ("smtp+plain://127.0.0.1:1025", ("127.0.0.1", 1025, "none", None, None)),
    ],
)
def test_a_mail_server_is_read_from_its_address(url: str, expected: tuple[object, ...]) -> None:
    """The scheme says how the conversation is encrypted; user and password may hold any character."""
    server = MailServer.parse(url, "Market <no-reply@market.example>")
    assert (server.host, server.port, server.security, server.user, server.password) == expected


@pytest.mark.parametrize(
    ("url", "sender"),
    [
        ("mail.internal", "a@b.example"),
        ("http://mail.internal", "a@b.example"),
        ("smtp+plain://me:hunter2@mail.internal", "a@b.example"),
        ("smtp://me:hunter2@mail.internal", "nobody"),
        ("smtp://me:hunter2/x@mail.internal", "a@b.example"),
    ],
)
def test_a_mail_server_that_cannot_be_right_is_refused_without_quoting_its_password(url: str, sender: str) -> None:
    """A wrong setting is said at the start, and a password goes neither over an open line nor into the message."""
    with pytest.raises(ValueError, match=r"expected|smtp|address") as refused:
        MailServer.parse(url, sender)
    assert "hunter2" not in str(refused.value)


def test_the_channels_are_those_that_the_settings_name() -> None:
    """The console alone unless a mail server is named; a server without a sender is said at the start."""
    server = SecretStr("smtps://mail.internal")
    assert [one.name for one in channels(configured())] == ["console"]
    both = configured(smtp_url=server, smtp_from="Market <a@b.example>")
    assert [one.name for one in channels(both)] == ["console", "email"]
    assert channels(configured(notify_console=False)) == []
    for wrong in (configured(smtp_url=server), configured(smtp_url=server, smtp_from="nobody")):
        with pytest.raises(SystemExit, match="HOLDFAST_SMTP_FROM"):
            channels(wrong)


def configured(**fields: Any) -> Settings:
    """Settings that the environment of the tests does not change."""
    return Settings.model_construct(**({"notify_console": True, "smtp_url": None, "smtp_from": None} | fields))
