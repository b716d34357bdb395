"""The outbox and what comes of it: every event once in its place, told in order, at least once, and never lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date

import pytest
from psycopg import errors
from sqlalchemy import text

from activities import notifications
from activities.channels.email import EmailChannel
from activities.notifications import GIVE_UP_AFTER_ATTEMPTS
from ledger import outbox as outbox_module
from ledger import reads
from ledger.outbox import Outbox
from models.commands import ApproveMilestone, Complete, Fund, RaiseDispute, StartWork, SubmitMilestone
from models.escrow import Escrow
from models.money import Money
from models.notifications import Message, News
from models.states import State
from models.templates import TEMPLATES, from_template
from tests.builders import PATHS, a_create
from tests.market import KEYS, Market
from tests.post_office import BUSY, PostOffice, post_office
from tests.servers import Connection, Servers, eventually, one
from tests.telling import address, courier, drain, head, know, make_due, record, run, told, towns, waiting


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


def test_every_event_is_in_the_outbox_in_the_order_of_the_escrow(town: Market) -> None:
    """One row per event, in the transaction of the command, refusals too, in the order in which reads tell them."""
    escrow = town.at(State.IN_PROGRESS)
    town.refused(ApproveMilestone, escrow)
    town.do(Complete, escrow)
    assert waiting(town, escrow) == town.events(escrow)
    assert "command.refused" in waiting(town, escrow)


def test_a_command_that_is_rolled_back_leaves_nothing_to_tell(town: Market, app: Connection) -> None:
    """An event and its row in the outbox come and go together."""
    escrow = town.create()
    before = waiting(town, escrow)
    app.execute(
        """INSERT INTO event (id, tenant_id, escrow_id, version, position, type, data, occurred_at)
           VALUES ('evt_x', %s, %s, 9, 0, 'escrow.funded', '{}', now())""",
        (town.tenant, escrow.id),
    )
    assert one(app, "SELECT count(*) FROM outbox WHERE event_id = 'evt_x'") == 1
    app.rollback()
    assert waiting(town, escrow) == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO outbox (event_id, tenant_id, escrow_id) VALUES ('evt_x', 'ten_x', 'esc_x')",
        "UPDATE outbox SET escrow_id = 'esc_x'",
        "UPDATE notification SET status = 'sent'",
        "DELETE FROM notification",
        "TRUNCATE outbox",
        "SELECT fill_outbox()",
    ],
)
def test_the_programs_role_fills_no_outbox_and_edits_no_record(app: Connection, statement: str) -> None:
    """The trigger alone fills the outbox; what was told is written once."""
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(statement.encode())


def test_a_deal_is_told_to_each_side_in_order_and_language(town: Market, office: PostOffice) -> None:
    """Every mail arrives once, in the order of the events; bob's are in Thai and readable as such."""
    escrow = town.at(State.MILESTONE_APPROVED)
    drain(courier(town, office.channel()))
    assert waiting(town, escrow) == []
    assert told(office, town, "alice") == ["escrow.created", "escrow.funded", "escrow.started", "milestone.submitted"]
    assert told(office, town, "bob") == ["escrow.created", "escrow.funded", "milestone.approved"]
    mail = office.to(address(town, "bob"))[1]
    assert mail.subject == "[ทดสอบ] ผู้ซื้อชำระเงินสำหรับ “Website redesign” แล้ว"
    assert "ผู้ซื้อชำระเงินจำนวน 5,000.00 EUR และเราพักเงินไว้แล้ว" in mail.text
    assert record(town, escrow)[0] == ("escrow.created", "email", "buyer", "sent")
    assert len(record(town, escrow)) == 7


def test_a_template_s_milestones_are_told_by_their_thai_titles(town: Market, office: PostOffice) -> None:
    """The description that ``from_template`` gave a milestone comes with the news, and bob reads it as the title."""
    drafts = from_template(TEMPLATES["wedding"], Money(500000, "EUR"), date(2026, 11, 21))
    escrow = town.accept(a_create(tenant=town.tenant).model_copy(update={"milestones": drafts}))
    for kind in PATHS[State.MILESTONE_APPROVED]:
        escrow = town.do(kind, escrow)
    drain(courier(town, office.channel()))
    assert office.to(address(town, "bob"))[-1].subject == "[ทดสอบ] งวดงาน “มัดจำเริ่มต้น” ได้รับการอนุมัติ"
    assert office.to(address(town, "alice"))[-1].subject == "[TEST] Please review “Initial deposit”"


def test_a_transient_failure_holds_back_its_own_escrow_only_and_is_tried_again(
    town: Market, office: PostOffice
) -> None:
    """A 4xx puts the event off, visibly; another escrow goes on; whoever was told already is not told twice."""
    know(town, "carol", email=address(town, "carol"), language="en")
    office.answers[address(town, "carol")] = BUSY
    held = town.create(seller="carol")
    held = town.do(Fund, held)
    other = town.at(State.FUNDED)
    drain(courier(town, office.channel()))
    assert waiting(town, held) == ["escrow.created", "escrow.funded"]
    assert head(town, "attempts", held) == 1
    assert head(town, "last_error", held) == "email to seller: the mail server refused it: 451 4.3.0"
    assert waiting(town, other) == []

    make_due(town)
    drain(courier(town, office.channel()))
    assert head(town, "attempts", held) == 2
    office.answers.clear()
    make_due(town)
    drain(courier(town, office.channel()))
    assert waiting(town, held) == []
    assert told(office, town, "carol") == ["escrow.created", "escrow.funded"]
    mails = [mail.message["Message-ID"] for mail in office.to(address(town, "alice"))]
    assert len(mails) == len(set(mails)) == 4


def test_attempts_are_ever_further_apart(town: Market, office: PostOffice) -> None:
    """After 1 second, 2, 4 … an hour at most."""
    office.answers[address(town, "alice")] = BUSY
    escrow = town.create()
    waits = []
    for attempts in (0, 1, 2, 11, 12, 50):
        run(town.engine, "UPDATE outbox SET attempts = :n WHERE escrow_id = :e", n=attempts, e=escrow.id)
        make_due(town)
        drain(courier(town, office.channel()))
        waits.append(head(town, "round(extract(epoch FROM next_attempt_at - clock_timestamp()))::int", escrow))
    assert waits == [pytest.approx(seconds, abs=1) for seconds in (1, 2, 4, 2048, 3600, 3600)]


def test_what_fails_for_three_days_gives_way_to_the_next(town: Market, office: PostOffice) -> None:
    """The last attempt records it as undeliverable; the other recipient was told on the first."""
    office.answers[address(town, "alice")] = BUSY
    escrow = town.at(State.FUNDED)
    drain(courier(town, office.channel()))
    last = GIVE_UP_AFTER_ATTEMPTS - 1
    run(town.engine, "UPDATE outbox SET attempts = :n WHERE attempts > 0 AND escrow_id = :e", n=last, e=escrow.id)
    make_due(town)
    drain(courier(town, office.channel()))
    assert waiting(town, escrow) == ["escrow.funded"]
    assert record(town, escrow)[:2] == [
        ("escrow.created", "email", "seller", "sent"),
        ("escrow.created", "email", "buyer", "undeliverable"),
    ]
    assert head(town, "attempts", escrow) == 1
    hours = sum(min(2**n, 3600) for n in range(GIVE_UP_AFTER_ATTEMPTS - 1)) / 3600
    assert 72 <= hours <= 73


class Sudden(Exception):  # noqa: N818 - no error: an end
    """The process ends."""


class Doomed:
    """A channel whose process ends after it has handed over, before anybody writes that down."""

    name = "email"

    def __init__(self, channel: EmailChannel) -> None:
        self._channel = channel
        self.addressed = channel.addressed

    def hand_over(self, message: Message) -> None:
        """Hand over, and be no more."""
        self._channel.hand_over(message)
        raise KeyboardInterrupt


def test_a_crash_between_the_hand_over_and_its_record_repeats_and_never_skips(town: Market, office: PostOffice) -> None:
    """The event is free again at once; its mail comes twice under one id, all others once, in order."""
    escrow = town.at(State.FUNDED)
    with pytest.raises(KeyboardInterrupt):
        drain(courier(town, Doomed(office.channel())))
    assert record(town, escrow) == []
    assert waiting(town, escrow) == ["escrow.created", "escrow.funded"]
    drain(courier(town, office.channel()))
    assert told(office, town, "alice") == ["escrow.created", "escrow.created", "escrow.funded"]
    first, second = office.to(address(town, "alice"))[:2]
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert told(office, town, "bob") == ["escrow.created", "escrow.funded"]


def test_a_connection_lost_during_the_hand_over_repeats_and_never_skips(
    town: Market, office: PostOffice, owner: Connection
) -> None:
    """PostgreSQL restarts while the mail server takes the mail: what was not written down is told again."""
    escrow = town.create()
    holders = """SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'outbox'::regclass
                 AND mode = 'RowShareLock' AND pid <> pg_backend_pid()"""

    def cut(mail: object) -> None:
        office.on_mail = lambda mail: None
        with town.engine.connect() as connection:
            connection.execute(text(holders))

    office.on_mail = cut
    with pytest.raises(errors.OperationalError):
        drain(courier(town, office.channel()))
    drain(courier(town, office.channel()))
    assert told(office, town, "alice") == ["escrow.created", "escrow.created"]
    assert told(office, town, "bob") == ["escrow.created"]
    assert waiting(town, escrow) == []


def test_several_couriers_at_once_keep_the_order_of_each_escrow(town: Market, office: PostOffice) -> None:
    """Four draining side by side by a slow server, with new events coming: all news in order, each mail once."""
    office.on_mail = lambda mail: threading.Event().wait(0.02)
    escrows = [town.at(State.IN_PROGRESS) for _ in range(4)]
    stop = threading.Event()

    def work() -> None:
        one = courier(town, office.channel())
        while one.deliver_next() or not stop.is_set():
            pass

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work) for _ in range(4)]
        for escrow in escrows:
            town.do(ApproveMilestone, town.do(SubmitMilestone, escrow))
            town.do(RaiseDispute, town.escrow(escrow))
        eventually(lambda: all(waiting(town, escrow) == [] for escrow in escrows))
        stop.set()
        for one in working:
            one.result(20)
    for escrow in escrows:
        order = [row["id"] for row in reads.events(town.engine, escrow.id)]
        for party in ("alice", "bob", "ops"):
            ids = [mail.message["Message-ID"].split(".")[0].strip("<") for mail in office.to(address(town, party))]
            of_this = [one for one in ids if one in order]
            assert of_this == sorted(of_this, key=order.index)
            assert len(of_this) == len(set(of_this)) > 0


def test_while_one_tells_an_escrows_news_nobody_else_does(town: Market, office: PostOffice) -> None:
    """The event that is being told is nobody else's, and the next one of its escrow is not due."""
    escrow = town.at(State.FUNDED)
    outbox = Outbox(town.engine, KEYS)
    with outbox.claim() as mine:
        assert mine is not None
        assert (mine.news.event.escrow, mine.news.event.type) == (escrow.id, "escrow.created")
        drain(courier(town, office.channel()))
        assert office.arrived == []
        mine.delivered()
    drain(courier(town, office.channel()))
    assert told(office, town, "alice") == ["escrow.funded"]


def test_money_moves_while_its_news_are_being_told(town: Market) -> None:
    """A courier in the middle of telling holds no lock that a command of the same escrow needs."""
    escrow = town.at(State.FUNDED)
    with Outbox(town.engine, KEYS).claim() as claim:
        assert claim is not None
        assert town.do(StartWork, escrow).state == State.IN_PROGRESS
        assert town.do(Complete, town.escrow(escrow)).released == 500000


class Wordless:
    """A channel that cannot make its text of one escrow's news."""

    name = "wordless"

    def __init__(self, escrow: Escrow) -> None:
        self._escrow = escrow.id

    def addressed(self, news: News) -> list[Message]:
        """Fail for the one escrow."""
        return [] if news.event.escrow != self._escrow else [news.event.data["message"]]

    def hand_over(self, message: Message) -> None:
        """Nothing comes so far."""


def test_a_mistake_in_one_text_stops_nobody_else(town: Market, office: PostOffice) -> None:
    """A text that cannot be made puts off its event, says so, and loses nothing; the mail of the same event goes."""
    broken, fine = town.create(), town.create()
    drain(courier(town, Wordless(broken), office.channel()))
    assert waiting(town, fine) == []
    assert waiting(town, broken) == ["escrow.created"]
    assert head(town, "last_error", broken) == "wordless: KeyError"
    assert told(office, town, "alice") == ["escrow.created", "escrow.created"]


class Unrecordable(Doomed):
    """A channel whose name PostgreSQL cannot store."""

    name = "nul\x00"

    def hand_over(self, message: Message) -> None:
        """Hand over."""
        self._channel.hand_over(message)


def test_what_cannot_be_recorded_is_put_off_and_does_not_stop_all_others(town: Market, office: PostOffice) -> None:
    """A row that PostgreSQL refuses is this event's trouble only."""
    escrow = town.create()
    drain(courier(town, Unrecordable(office.channel())))
    assert head(town, "attempts", escrow) == 1
    assert head(town, "last_error", escrow) == "DataError"


def test_the_operator_is_told_what_operators_need_to_know(town: Market, office: PostOffice) -> None:
    """A dispute reaches both sides and the operator."""
    town.at(State.DISPUTED)
    drain(courier(town, office.channel()))
    assert told(office, town, "ops") == ["dispute.opened"]


def test_what_happens_behind_an_event_that_is_put_off_waits_as_long(town: Market, office: PostOffice) -> None:
    """A queue behind a failure is not looked at before its head is due, and all of it is told when that works."""
    office.answers[address(town, "alice")] = BUSY
    escrow = town.create()
    drain(courier(town, office.channel()))
    run(town.engine, "UPDATE outbox SET attempts = 20 WHERE escrow_id = :escrow", escrow=escrow.id)
    make_due(town)
    drain(courier(town, office.channel()))
    escrow = town.do(Fund, escrow)
    assert town.scalar("SELECT count(DISTINCT next_attempt_at) FROM outbox WHERE escrow_id = :e", e=escrow.id) == 1
    assert not courier(town, office.channel()).deliver_next()
    office.answers.clear()
    make_due(town)
    drain(courier(town, office.channel()))
    assert told(office, town, "alice") == ["escrow.created", "escrow.funded"]


def test_a_long_queue_is_not_read_at_every_turn(town: Market) -> None:
    """With thousands of events waiting, the next one is found by the indexes, also where the table was empty."""
    plan = "EXPLAIN (COSTS OFF) " + outbox_module._CLAIM
    with town.engine.connect() as connection:
        connection.exec_driver_sql(outbox_module._TERMS)
        lines = "\n".join(row[0] for row in connection.exec_driver_sql(plan))
    assert "Index Scan using outbox_due" in lines
    assert "using outbox_in_order" in lines
    assert "Seq Scan on outbox" not in lines


def test_an_event_that_takes_too_long_is_finished_at_the_next_attempt(
    town: Market, office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow server keeps a row locked for a bounded time; whoever was not told yet is told next time."""
    escrow = town.create()
    with monkeypatch.context() as patch:
        patch.setattr(notifications, "_ONE_EVENT_SECONDS", 0)
        office.on_mail = lambda mail: threading.Event().wait(0.02)
        drain(courier(town, office.channel()))
    assert head(town, "last_error", escrow) == "email: no time left; email: no time left"
    make_due(town)
    drain(courier(town, office.channel()))
    assert told(office, town, "alice") == told(office, town, "bob") == ["escrow.created"]


def test_an_event_costs_the_same_however_many_wait_to_be_told(servers: Servers, town: Market) -> None:
    """While nobody delivers, the queue grows; who writes one more reads the end of its own escrow's rows alone.

    Also by a plan that was made while the queue was empty, and kept.
    """
    escrows = [town.create().id for _ in range(12)]
    insert = (
        "INSERT INTO event (id, tenant_id, escrow_id, version, position, type, data, occurred_at)"
        " VALUES (%s, %s, %s, 99, 0, 'x', '{}', now())"
    )
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
    with closing(servers.superuser()) as connection, connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM outbox")
        connection.execute("ANALYZE outbox")
        for number, escrow in enumerate(escrows[1:]):
            connection.execute(insert, (f"y{number}", town.tenant, escrow))
        connection.execute(
            "INSERT INTO outbox (event_id, tenant_id, escrow_id)"
            " SELECT 'x' || n, 'x', 'x' || n FROM generate_series(1, 3000) AS n"
        )
        before = int(one(connection, read))
        connection.execute(insert, ("z", town.tenant, escrows[0]))
        assert int(one(connection, read)) - before < 100
