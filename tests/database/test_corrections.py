"""Corrections: once, by two people above a limit, between gateway_cash and suspense; and all reports go on tying."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from ledger import corrections, reconciliation
from ledger.reports import Span
from models.errors import RefusedError
from models.reconciliation import Correction, Difference, Finished
from starter.reports import sheets
from tests.builders import new_id
from tests.database.corrections_desk import LIMIT, Desk, desks
from tests.market import GATEWAY, Market
from tests.servers import Connection, Servers, eventually, one
from tests.telling import run


def a_round(market: Market) -> Finished:
    """The end of a round of the market's own, which read nothing."""
    ended = Finished(round=new_id("rec"), failed="it was not meant")
    reconciliation.begin(market.engine, ended.round, f"of {market.tenant}")
    return ended


@pytest.fixture
def desk(market: Market) -> Iterator[Desk]:
    """Those of the market."""
    with desks(market) as desk:
        yield desk


# The next round has looked since, and found nothing that moved.
_NOTHING_MOVED: Final = "UPDATE difference SET last_seen = now() + interval '2 minutes' WHERE id = ANY(:those)"


def _read(desk: Desk) -> Difference:
    """The difference that was made last."""
    found = reconciliation.difference(desk.market.engine, desk.made[-1])
    assert found is not None
    return found


def refused(work: Callable[[], object]) -> tuple[str, str]:
    """The code and the words of a refusal."""
    with pytest.raises(RefusedError) as raised:
        work()
    return raised.value.refusal.code, raised.value.refusal.message


@pytest.mark.parametrize(("ours", "theirs"), [(None, 5000), (5000, None), (9000, 4000)])
def test_up_to_the_limit_one_operator_books_it_and_all_reports_tie(
    desk: Desk, ours: int | None, theirs: int | None
) -> None:
    """gateway_cash comes to agree, suspense has what is unexplained, and debits equal credits."""
    cash, by = desk.market.balance("gateway_cash", GATEWAY), (theirs or 0) - (ours or 0)
    booked = desk.propose(found := desk.differs(ours=ours, theirs=theirs))
    assert (booked.status, booked.amount, booked.needs_approval, booked.decided_by) == ("booked", by, False, "olga")
    assert (desk.market.balance("gateway_cash", GATEWAY), desk.suspense()) == (cash + by, by)
    assert desk.status(found) == "corrected"
    balance = sheets.trial_balance(desk.market.engine, desk.market.tenant, Span())
    liquidity = sheets.liquidity(desk.market.engine, desk.market.tenant, Span())
    assert balance.ties
    assert liquidity.ties
    assert {row["account"]: row["closing"] for row in balance.rows}["suspense"] == by
    assert {row["item"]: row["amount"] for row in liquidity.rows}["suspense"] == by


def test_above_the_limit_somebody_else_has_to_approve_it(desk: Desk) -> None:
    """Whoever proposed it may not, whichever way the name is written; nothing moves before."""
    found = desk.differs()
    proposed = desk.propose(found)
    assert (proposed.status, proposed.needs_approval, proposed.transaction) == ("proposed", True, None)
    for name in ("olga", "Olga", "OLGA"):
        assert refused(lambda name=name: desk.approve(proposed, name))[0] == "forbidden"  # type: ignore[misc]
    assert (desk.suspense(), desk.status(found)) == (0, "open")
    booked = desk.approve(proposed)
    assert (booked.status, booked.decided_by, desk.suspense(), desk.status(found)) == (
        "booked",
        "piet",
        7000,
        "corrected",
    )


def test_what_was_booked_alone_before_counts_towards_the_limit(desk: Desk) -> None:
    """In parts, in whichever direction and whoever booked them; what two people booked does not count."""
    thing, other = {"subject": new_id("chg"), "kind": "other"}, {"subject": new_id("chg"), "kind": "other"}

    def part(amount: int, operator: str, **said: Any) -> Correction:
        found = desk.differs(**({"theirs": 7000} | said))
        run(desk.market.engine, _NOTHING_MOVED, those=[found])
        return desk.propose(found, operator, amount=amount)

    assert part(3000, "olga", **thing).status == "booked"
    assert part(-1000, "rita", ours=7000, theirs=None, **thing).status == "booked"
    assert corrections.booked_alone(desk.market.engine, _read(desk)) == 4000
    second = part(1001, "rita", **thing)
    assert (second.status, second.needs_approval) == ("proposed", True)
    assert desk.approve(second).status == "booked"
    assert part(LIMIT, "olga", **other).status == "booked"
    assert part(LIMIT, "olga", currency="USD", **thing).status == "booked"
    assert part(1000, "olga", **thing).status == "booked"
    assert part(1, "piet", **thing).status == "proposed"


def test_asking_again_answers_what_was_done(desk: Desk) -> None:
    """The same proposal, approval or rejection a second time changes nothing; another one is refused."""
    found = desk.differs()
    first = desk.propose(found)
    assert desk.propose(found) == first
    assert refused(lambda: desk.propose(found, "rita")) == (
        "already_exists",
        f"{first.id} of olga for {found} waits for another operator: approve or reject it",
    )
    booked = desk.approve(first)
    assert [desk.approve(first), desk.approve(first, "rita"), desk.propose(found)] == [booked] * 3
    assert refused(lambda: desk.reject(first))[0] == "invalid_transition"
    for other in ({"reason": "Once more"}, {"amount": 6999}, {"tenant": new_id("ten")}):
        assert refused(lambda other=other: desk.propose(found, **other))[0] == "already_exists"  # type: ignore[misc]
    assert (desk.bookings(), desk.suspense()) == (1, 7000)


def test_what_was_rejected_is_never_booked_and_makes_room_for_another(desk: Desk) -> None:
    """By whoever proposed it, too."""
    found = desk.differs()
    first = desk.propose(found)
    rejected = desk.reject(first, "olga")
    assert (rejected.status, desk.reject(first), desk.status(found)) == ("rejected", rejected, "open")
    assert refused(lambda: desk.approve(first)) == (
        "invalid_transition",
        f"{first.id} was rejected by olga: It came after all",
    )
    second = desk.propose(found, amount=6000)
    assert desk.approve(second).amount == desk.suspense() == 6000
    assert [one.status for one in corrections.of_difference(desk.market.engine, found)] == ["rejected", "booked"]


@pytest.mark.parametrize("amount", [7001, -1, -7000, 0, 10**15])
def test_never_more_than_differs_and_never_the_other_way(desk: Desk, amount: int) -> None:
    code, message = refused(lambda: desk.propose(desk.differs(), amount=amount))
    assert (code, "differs by 70.00 EUR" in message) == ("invalid_command", True)


@pytest.mark.parametrize(
    ("said", "code", "instead"),
    [
        ({"compared": "workflows", "cause": "not_running"}, "invalid_command", "no case for a correction: book it"),
        ({"kind": None, "subject": "balance"}, "invalid_command", "no case for a correction: book it"),
        ({"compared": "books", "cause": "unsound"}, "invalid_command", "run `holdfast verify`"),
        ({"cause": "unknown_outcome"}, "invalid_command", "would count twice"),
        ({"cause": "late"}, "invalid_command", "so wait"),
        ({"theirs": None, "currency": None}, "invalid_command", "no case for a correction: book it"),
        ({"theirs": 10, "ours": 10}, "invalid_command", "no case for a correction: book it"),
        ({"cause": "misdirected"}, "invalid_command", "no case for a correction: book it"),
        ({"currency": "zzz"}, "invalid_command", "no case for a correction: book it"),
        ({"status": "healed", "closed_at": "2026-01-01Z", "closed_why": "it came"}, "invalid_transition", "it came"),
    ],
    ids=["workflow", "balance", "books", "unknown", "late", "no money", "no amount", "misdirected", "no currency",
         "healed"],
)  # fmt: skip
def test_what_a_correction_cannot_mend_is_refused_with_what_can(
    desk: Desk, said: dict[str, Any], code: str, instead: str
) -> None:
    refusal, message = refused(lambda: desk.propose(desk.differs(**said)))
    assert (refusal, instead in message) == (code, True), message


def test_the_books_it_goes_into_are_the_differences_or_are_named(desk: Desk) -> None:
    """Nobody guesses whose money it is."""
    stray, other = desk.differs(tenant_id=None), new_id("ten")
    assert "say in whose books" in refused(lambda: desk.propose(stray))[1]
    assert refused(lambda: desk.propose(stray, tenant=other)) == ("not_found", f"there is no tenant {other}")
    assert f"not about {other}" in refused(lambda: desk.propose(desk.differs(), tenant=other))[1]
    assert desk.propose(stray, tenant=desk.market.tenant).tenant == desk.market.tenant
    assert refused(lambda: desk.propose(new_id("dif")))[0] == "not_found"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("theirs = 8000", "conflict"),
        ("ours = 1000", "conflict"),
        ("currency = 'USD'", "conflict"),
        ("cause = 'unknown_outcome'", "invalid_command"),
        ("status = 'healed', closed_at = now()", "invalid_transition"),
    ],
)
def test_what_changed_since_it_was_proposed_is_not_booked(desk: Desk, change: str, code: str) -> None:
    """Whoever approves approves what they read, and no more."""
    proposed = desk.propose(found := desk.differs())
    with desk.market.engine.begin() as connection:
        connection.execute(text(f"UPDATE difference SET {change} WHERE id = :id"), {"id": found})
    assert refused(lambda: desk.approve(proposed))[0] == code
    assert (desk.bookings(), desk.suspense()) == (0, 0)


def test_what_our_books_have_moved_since_it_was_compared_is_compared_again_first(desk: Desk) -> None:
    """The charge is booked, or the same thing corrected, while a round looks: nothing is counted twice."""
    charge = desk.market.top_up(7000)
    stale = desk.differs(subject=charge.id)
    assert refused(lambda: desk.propose(stale))[0] == "conflict"
    corrected = desk.approve(desk.propose(desk.differs(subject="du_1", kind="contested")))
    again = desk.differs(subject="du_1", kind="contested")
    code, message = refused(lambda: desk.propose(again))
    assert (code, "reconcile again first" in message) == ("conflict", True)
    run(desk.market.engine, _NOTHING_MOVED, those=[stale, again])
    assert {desk.propose(stale).status, desk.propose(again).status} == {"proposed"}
    assert (corrected.status, desk.suspense()) == ("booked", 7000)


def test_what_the_provider_is_asked_about_right_now_is_not_corrected(desk: Desk, owner: Connection) -> None:
    """A round has it looked into, and what comes of it is booked by itself."""
    subject, provider = new_id("chg"), f"of {desk.market.tenant}"
    owner.execute(
        """INSERT INTO provider_line (provider, id, type, kind, amount, fee, currency, source, subject, created_at)
           VALUES (%s, 'txn_1', 'charge', 'charge', 7000, 0, 'EUR', 'pi_1', %s, now())""",
        (provider, subject),
    )
    owner.execute(
        """INSERT INTO gateway_event (provider, id, type, created, reference, details)
           VALUES (%s, 'reconciliation:1', 'charge.succeeded', now(), 'pi_1', '{}')""",
        (provider,),
    )
    owner.commit()
    asked = desk.differs(subject=subject, provider=provider)
    assert refused(lambda: desk.propose(asked))[0] == "conflict"
    owner.execute("UPDATE gateway_event SET status = 'refused', applied_at = now() WHERE provider = %s", (provider,))
    owner.commit()
    assert desk.propose(asked).status == "proposed"


def test_what_the_provider_was_not_asked_about_yet_is_not_corrected(desk: Desk, owner: Connection) -> None:
    """A round has it looked into: only when that led to nothing, or to a person, somebody corrects it."""
    charge, provider = desk.market.charge(7000), f"of {desk.market.tenant}"
    desk.market.books.begin_charge(charge)
    owner.execute(
        """INSERT INTO provider_line (provider, id, type, kind, amount, fee, currency, source, subject, key, created_at)
           VALUES (%s, 'txn_1', 'charge', 'charge', 7000, 0, 'EUR', 'pi_1', %s, %s, now())""",
        (provider, charge.id, charge.id),
    )
    owner.commit()
    found = desk.differs(subject=charge.id, provider=provider)
    code, message = refused(lambda: desk.propose(found))
    assert (code, "was not asked about it yet. Run a round first" in message) == ("conflict", True)
    told = """INSERT INTO gateway_event (provider, id, type, created, reference, key, details)
        VALUES (%s, %s, 'charge.succeeded', now(), %s, %s, '{}')"""
    settle = "UPDATE gateway_event SET status = %s, applied_at = now() WHERE provider = %s AND id = %s"
    events = (("evt_1", "ch_1", charge.id), ("evt_2", "pi_1", None), ("reconciliation:1", "pi_1", None))
    for event, reference, key in events:
        owner.execute(told, (provider, event, reference, key))
        owner.commit()
        code, message = refused(lambda: desk.propose(found))
        assert (code, f"tells about {charge.id} is being looked into" in message) == ("conflict", True)
        owner.execute(settle, ("ignored", provider, event))
        owner.commit()
        if not event.startswith("reconciliation:"):
            assert "was not asked about it yet" in refused(lambda: desk.propose(found))[1]
    assert desk.propose(found).status == "proposed"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("status = 'healed', closed_at = now(), closed_why = 'it came'", "the difference is healed: it came"),
        ("theirs = 8000", "the difference is not what it was proposed for any more"),
        ("currency = 'USD'", "the difference is not what it was proposed for any more"),
    ],
    ids=["healed", "amount", "currency"],
)
def test_a_round_closes_what_nobody_can_approve_any_more(desk: Desk, change: str, why: str) -> None:
    """What still can be approved goes on waiting; asked again, it finds no more."""
    stale, waits = desk.propose(found := desk.differs()), desk.propose(desk.differs())
    with desk.market.engine.begin() as connection:
        connection.execute(text(f"UPDATE difference SET {change} WHERE id = :id"), {"id": found})
    ended = a_round(desk.market)
    reconciliation.finish(desk.market.engine, ended)
    rejected = corrections.correction(desk.market.engine, stale.id)
    assert rejected is not None
    assert (rejected.status, rejected.decided_by, rejected.decided_why) == ("rejected", "reconciliation", why)
    assert corrections.correction(desk.market.engine, waits.id) == waits
    assert desk.approve(waits).status == "booked"


def test_of_many_who_decide_at_once_one_does(desk: Desk) -> None:
    """Approvers all get the one booking, or all who came after a rejection are refused; twenty times over."""
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            proposed = desk.propose(desk.differs(theirs=6000))
            before, ready = desk.suspense(), threading.Barrier(8)

            def decide(
                number: int, proposed: Correction = proposed, ready: threading.Barrier = ready
            ) -> Correction | str:
                ready.wait()
                try:
                    return (desk.reject if number == 0 else desk.approve)(proposed, f"operator{number}")
                except RefusedError as error:
                    return error.refusal.code

            answers = list(threads.map(decide, range(8)))
            done = [one for one in answers if isinstance(one, Correction)]
            assert {one for one in answers if isinstance(one, str)} <= {"invalid_transition"}
            assert all(one == done[0] for one in done)
            assert desk.suspense() - before == (6000 if done[0].status == "booked" else 0)


def test_of_many_who_propose_at_once_one_does(desk: Desk) -> None:
    """Also where it is booked at once."""
    found = desk.differs(theirs=LIMIT)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: desk.propose(found), range(8)))
    assert all(one == answers[0] for one in answers)
    assert (desk.bookings(), desk.suspense()) == (1, LIMIT)


def test_a_crash_before_the_end_leaves_nothing(desk: Desk, servers: Servers) -> None:
    """The connection is cut when entries and correction are written and the difference is not yet closed."""
    proposed = desk.propose(found := desk.differs())
    with closing(servers.owner()) as owner, ThreadPoolExecutor(1) as thread, closing(servers.superuser()) as root:
        owner.execute("LOCK TABLE difference IN SHARE MODE")  # rows may be locked, and not changed
        cut = thread.submit(desk.approve, proposed)
        waits = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE difference SET%'"
        )
        assert one(root, "SELECT pg_terminate_backend(%s)", eventually(lambda: one(root, waits)))
        with pytest.raises(OperationalError):
            cut.result(20)
    assert (desk.bookings(), desk.suspense(), desk.status(found)) == (0, 0, "open")
    assert desk.approve(proposed).status == "booked"
    assert (desk.bookings(), desk.suspense(), desk.status(found)) == (1, 7000, "corrected")
