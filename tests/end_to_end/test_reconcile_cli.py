"""``holdfast reconcile`` in the hands of operators: from an empty list to a difference, two people, and agreement."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from models import ids
from models.money import Money
from models.postings import top_up
from starter.embedded.home import Endpoints
from starter.endings import UNKNOWN, EndedError
from starter.operating import following, reconciling, rounds
from tests.builders import new_id
from tests.end_to_end.command_line import Books, CommandLine
from tests.end_to_end.test_operator_cli import answer, endpoints_of, error
from tests.market import GATEWAY, Market
from tests.telling import run

OLGA = ("--operator", "olga")


@pytest.fixture(scope="module")
def holdfast() -> Iterator[CommandLine]:
    """A home where ``holdfast up`` runs, and nobody has played anything."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        with command_line.up():
            yield command_line


@pytest.fixture
def endpoints(holdfast: CommandLine) -> Endpoints:
    """Where its servers are."""
    return endpoints_of(holdfast)


def never_arrived(endpoints: Endpoints) -> tuple[str, str]:
    """Three days ago a charge of 70.00 was booked that the provider has never heard of; its tenant and its id."""
    engine = Books(endpoints).engine()
    tenant, charge = Market(engine, purse=0).tenant, new_id("chg")
    engine.dispose()
    transaction = ids.derive("txn", ids.made_at(charge), charge)
    with psycopg.connect(endpoints.migration_url.replace("+psycopg", "")) as owner:
        owner.execute(
            """INSERT INTO charge (id, tenant_id, party, amount, currency, payment_method, status, created_at)
               VALUES (%s, %s, 'alice', 7000, 'EUR', 'pm_card_visa', 'succeeded', now() - interval '3 days')""",
            (charge, tenant),
        )
        owner.execute(
            """INSERT INTO ledger_transaction (id, tenant_id, command_id, memo, posted_at, recorded_at)
               VALUES (%s, %s, %s, 'top up', now() - interval '3 days', now() - interval '3 days')""",
            (transaction, tenant, charge),
        )
        for one in top_up(GATEWAY, "alice", Money(7000, "EUR")).postings:
            owner.execute(
                """INSERT INTO entry (id, transaction_id, tenant_id, account_kind, owner, direction, amount, currency)
                   VALUES (%s, %s, %s, %s, %s, %s, 7000, 'EUR')""",
                (new_id("ent"), transaction, tenant, one.kind, one.owner, one.direction),
            )
    return tenant, charge


def test_two_operators_correct_what_the_provider_never_had(holdfast: CommandLine, endpoints: Endpoints) -> None:
    """It is found with its age, shown with both sides, proposed by one and booked by another; then all agrees again."""
    assert "There was no round yet" in reconciling.listed("open", 20, None, holdfast.home, quiet=True)[0]
    tenant, charge = never_arrived(endpoints)
    ended = holdfast("reconcile", "--json")
    assert (ended.code, ended.err) == (1, ""), ended
    found = json.loads(ended.out)
    (difference,) = found["data"]
    told = [difference[name] for name in ("cause", "kind", "subject", "tenant", "ours", "theirs", "correction")]
    assert told == ["missing_there", "charge", charge, tenant, 7000, None, None]
    assert [one["unexplained"] for one in found["round"]["balances"]] == [-7000]
    shown = holdfast("reconcile", "show", difference["id"]).out
    assert "missing there, 3 days old" in shown
    assert "ours 70.00 EUR, stripe's nothing: -70.00 EUR differs" in shown
    assert "debit   gateway_cash of stripe  70.00 EUR" in shown
    reason = ("--reason", "Their support says \u202eno", "--yes", "--json")
    proposed = answer(holdfast("reconcile", "correct", difference["id"], *OLGA, *reason))
    assert (proposed["status"], proposed["amount"], proposed["needs_approval"]) == ("proposed", -7000, True)
    assert f"waits for another operator: {proposed['id']}, -70.00 EUR" in holdfast("reconcile", "list").out
    assert reconciling.shown(proposed["id"], holdfast.home, quiet=True)[1]["id"] == difference["id"]
    approve = ("reconcile", "approve", proposed["id"], "--yes", "--json", "--operator")
    assert error(holdfast(*approve, "Olga"), 3)["code"] == "forbidden"
    booked = answer(holdfast(*approve, "piet"))
    assert (booked["status"], booked["decided_by"]) == ("booked", "piet")
    faults = {"requests": [{"operation": "look_up", "fault": "error_before", "times": 2}]}
    httpx.put(f"{endpoints.stripe_api_base}/sandbox/plan", json=faults).raise_for_status()
    again = holdfast("reconcile")
    assert again.code == 0, again
    assert "stripe does not answer (attempt " in again.err
    assert " s; Ctrl-C leaves the round running" in again.err
    assert again.out.endswith("Nothing differs: books, stripe and workflows agree.\n")
    assert "EUR: 0.00 - 0.00 gateway_cash = 0.00 unexplained" in again.out
    of_today = answer(holdfast("reconcile", "rounds", "--json"))["data"]
    assert [one["found"] for one in of_today] == [{}, {"missing_there": 1}]
    corrected = holdfast("reconcile", "list", "--status", "corrected").out
    assert rf"corrected: {booked['id']}: Their support says \u202eno" in corrected


def test_up_to_the_limit_one_operator_corrects_a_part_alone(holdfast: CommandLine, endpoints: Endpoints) -> None:
    """The limit is a setting of whoever runs the command; --amount has no sign, it goes the way of the difference.

    What is left is named by the next round at once: a correction is no movement that the other side could follow.
    """
    tenant, charge = never_arrived(endpoints)
    found, engine = new_id("dif"), Books(endpoints).engine()
    run(
        engine,
        """INSERT INTO difference (id, provider, compared, cause, kind, subject, tenant_id, ours, currency, since, says,
               remedy)
           SELECT :id, 'stripe', 'provider', 'missing_there', 'charge', :charge, :tenant, 7000, 'EUR', now(), '', ''""",
        id=found,
        charge=charge,
        tenant=tenant,
    )
    engine.dispose()
    correct = ("reconcile", "correct", found, *OLGA, "--reason", "A part", "--amount", "69.00", "--json")
    assert "--yes" in error(holdfast(*correct), 2)["message"]
    booked = answer(holdfast(*correct, "--yes", HOLDFAST_CORRECTION_LIMIT="6900"))
    assert (booked["status"], booked["amount"], booked["needs_approval"]) == ("booked", -6900, False)
    rest = holdfast("reconcile", "--json")
    assert (rest.code, json.loads(rest.out)["round"]["found"]) == (1, {"missing_there": 1})


def test_without_a_worker_it_ends_with_5_and_the_round_goes_on_later(
    holdfast: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing stirs for too long, which is told soon; asking again follows the same round."""
    monkeypatch.setattr(following, "_ANSWERS_WITHIN", timedelta(seconds=0.2))
    monkeypatch.setattr(following, "_TAKEN_SECONDS", 0.5)
    monkeypatch.setattr(following, "_NO_SIGN_SECONDS", 2.0)
    worker = holdfast.children()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(EndedError, match="Asking again goes on") as raised:
            rounds.reconcile_now(holdfast.home, quiet=False)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert (raised.value.exit_code, raised.value.code) == (UNKNOWN, "outcome_unknown")
    assert "No worker has taken it yet" in capsys.readouterr().err


def test_what_makes_no_sense_or_is_not_there_is_told_as_everywhere(holdfast: CommandLine) -> None:
    """2 for wrong input, 4 for what is not there; the group's own options do not get lost on their way."""
    nothing = "0" * 26
    for arguments, code, named in (
        (("--json", "list"), 2, "wrong_input"),
        (("approve", f"cor_{nothing}", *OLGA, "--yes", "--json"), 4, "not_found"),
        (("reject", f"cor_{nothing}", "--operator", "Olga Smith", "--reason", "x", "--json"), 2, "wrong_input"),
    ):
        assert error(holdfast("reconcile", *arguments), code)["code"] == named, arguments
