"""``holdfast`` in the hands of operators: looking up, judging, sending, repairing; on a real stack with its worker."""

import asyncio
import json
import os
import pty
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from ledger import keys
from ledger.engine import connect
from models.ids import escrow_workflow
from starter.arrival import OutcomeUnknownError
from starter.deals.runs import Run
from starter.embedded.home import Endpoints, running
from starter.endings import EndedError
from starter.operating.office import Office
from starter.progress import Progress
from starter.sender import Sender
from starter.servers import Servers
from tests.end_to_end.command_line import EXAMPLES, Books, CommandLine, Ended, finish
from tests.servers import eventually

DEAL: Final = """\
title: "A shed\\u202e"
tenant: {name: Craft Market}
parties: {rosa: , theo: {payout_destination: acct_theo}}
operators: [olga]
policies:
  fees:
    rules: [{outcome: release, rate: 0.10}, {outcome: split, rate: 0.10}, {outcome: reversal, rate: 0}]
escrow:
  {buyer: rosa, seller: theo, amount: 1500, currency: EUR,
   milestones: [{title: The shed, amount: 1000}, {title: Paint, amount: 500}]}
actions:
  - {actor: rosa, do: top_up, amount: 1500}
  - {actor: rosa, do: fund}
  - {actor: theo, do: start_work}
  - {actor: theo, do: submit_milestone, milestone: The shed}
"""
DISPUTE: Final = """\
  - {actor: rosa, do: dispute, milestones: [The shed], reason: "No \\u202edoor", description: There is a hole.}
"""
BY_OLGA: Final = ("--operator", "olga")


@pytest.fixture(scope="module")
def holdfast() -> Iterator[CommandLine]:
    """A home where ``holdfast up`` runs."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        with command_line.up():
            yield command_line


def played(holdfast: CommandLine, text: str) -> Run:
    """A deal of its own, played up to where its text ends."""
    file = holdfast.home.parent / "deal.yaml"
    file.write_text(text, encoding="utf-8")
    assert holdfast("run", file, "--json").code == 0
    return holdfast.runs()[0]


def answer(ended: Ended) -> Any:
    """The JSON on stdout of a command that did its work; nothing else was said."""
    assert (ended.code, ended.err) == (0, ""), ended
    return json.loads(ended.out)


def error(ended: Ended, code: int) -> Any:
    """The JSON on stderr of a command that did not."""
    assert (ended.code, ended.out) == (code, ""), ended
    return json.loads(ended.err)["error"]


def endpoints_of(holdfast: CommandLine) -> Endpoints:
    endpoints = running(holdfast.home)
    assert endpoints is not None
    return endpoints


def test_an_operator_finds_a_dispute_judges_it_and_sees_the_money_go(holdfast: CommandLine) -> None:
    """From the list to the payout and the audit; the same command twice moves money once; words of people are shown."""
    run = played(holdfast, DEAL + DISPUTE)
    listed = answer(holdfast("dispute", "list", "--tenant", run.tenant, "--status", "open", "--json"))
    (found,) = listed["data"]
    assert (found["escrow"], found["amount"], listed["has_more"]) == (run.escrow, 100000, False)
    assert answer(holdfast("dispute", "list", "--tenant", run.tenant, "--status", "closed", "--json"))["data"] == []
    shown = holdfast("dispute", "show", found["id"])
    assert r"No \u202edoor" in shown.out
    assert "1,000.00 EUR" in shown.out
    reviewed = answer(holdfast("dispute", "review", found["id"], *BY_OLGA, "--expect-version", "5", "--json"))
    assert reviewed["escrow"]["version"] == 6
    assert reviewed["command"].startswith("cmd_")
    resolve = ("dispute", "resolve", found["id"], *BY_OLGA, "--resolution", "split", "--seller-share", "0.7",
               "--details", "Half a door", "--yes", "--id", f"{run.id}:judged", "--json")  # fmt: skip
    first, again = answer(holdfast(*resolve)), answer(holdfast(*resolve))
    assert first["command"] == again["command"] == f"{run.id}:judged"
    assert (first["escrow"]["released"], first["escrow"]["refunded"]) == (73000, 27000)
    assert again["escrow"]["version"] == first["escrow"]["version"]
    paid = eventually(
        lambda: answer(holdfast("payout", "list", "--tenant", run.tenant, "--status", "paid", "--json"))["data"]
    )
    assert [(one["party"], one["amount"]) for one in paid] == [("theo", 63000)]
    assert answer(holdfast("payout", "show", paid[0]["id"], "--json"))["escrow"] == run.escrow
    assert answer(holdfast("dispute", "close", found["id"], *BY_OLGA, "--json"))["escrow"]["disputes"][0]["status"]
    rows = answer(holdfast("audit", run.escrow, "--json"))["rows"]
    by_olga = [row["name"] for row in rows if row["actor_party"] == "olga" and row["actor_role"] == "operator"]
    assert by_olga == ["review_dispute", "resolve_dispute", "close_dispute"]
    escrow = holdfast("escrow", "show", run.escrow)
    assert escrow.code == 0
    assert r"A shed\u202e" in escrow.out
    assert "\u202e" not in escrow.out + shown.out


def test_what_the_rules_refuse_ends_with_3_and_moves_nothing(holdfast: CommandLine) -> None:
    """The refusal is named by its code, with what is allowed; the books have it on record and nothing else."""
    run = played(holdfast, DEAL + DISPUTE)
    (found,) = answer(holdfast("dispute", "list", "--tenant", run.tenant, "--json"))["data"]
    before = answer(holdfast("escrow", "show", run.escrow, "--json"))
    entries = Books(endpoints_of(holdfast)).rows()["entry"]
    refused = error(holdfast("escrow", "cancel", run.escrow, *BY_OLGA, "--yes", "--json"), 3)
    assert (refused["code"], refused["details"]["state"]) == ("invalid_transition", "disputed")
    stale = holdfast("dispute", "review", found["id"], *BY_OLGA, "--expect-version", "2")
    assert stale.code == 3
    assert "Refused, and nothing moved: conflict: " in stale.err
    judge = ("dispute", "resolve", found["id"], "--resolution", "seller_favor", "--details", "Fine", "--yes", "--json")
    party = error(holdfast(*judge, "--operator", "theo"), 3)
    assert party["code"] in {"forbidden", "invalid_transition"}
    assert answer(holdfast("escrow", "show", run.escrow, "--json")) == before
    assert Books(endpoints_of(holdfast)).rows()["entry"] == entries


def test_money_moves_only_after_somebody_said_yes(holdfast: CommandLine) -> None:
    """Without a terminal --yes has to be said; in one a person is asked, is shown what moves, and can say no."""
    run = played(holdfast, DEAL)
    approve = ("escrow", "approve", run.escrow, "1", *BY_OLGA)
    unasked = error(holdfast(*approve, "--json"), 2)
    assert "--yes" in unasked["message"]
    declined, question = _typed(holdfast, "n\n", *approve)
    assert declined == 130
    assert "Release milestone 1 to theo." in question
    assert "held 1,500.00 EUR" in question
    assert answer(holdfast("escrow", "show", run.escrow, "--json"))["released"] == 0
    agreed, _ = _typed(holdfast, "y\n", *approve)
    assert agreed == 0
    assert answer(holdfast("escrow", "show", run.escrow, "--json"))["released"] == 100000


def test_a_payout_with_nowhere_to_go_says_how_it_is_sent(holdfast: CommandLine) -> None:
    """The line that it names, with an account in it, sends the money; then there is nothing to say any more."""
    run = played(holdfast, DEAL.replace("{payout_destination: acct_theo}", ""))
    answer(holdfast("escrow", "approve", run.escrow, "1", *BY_OLGA, "--yes", "--json"))
    of_it = ("payout", "list", "--tenant", run.tenant, "--json", "--status")
    (failed,) = eventually(lambda: answer(holdfast(*of_it, "failed"))["data"])
    shown = holdfast("payout", "show", failed["id"]).out
    assert f"payout retry {failed['id']} --operator NAME --destination ACCOUNT" in shown
    answer(holdfast("payout", "retry", failed["id"], *BY_OLGA, "--destination", "acct_theo", "--yes", "--json"))
    assert eventually(lambda: answer(holdfast(*of_it, "paid"))["data"])
    assert "payout retry" not in holdfast("payout", "show", failed["id"]).out


def _typed(holdfast: CommandLine, keys_pressed: str, *arguments: str) -> tuple[int, str]:
    """Run a command with a terminal as stdin, type, and answer its exit code and what it said on stderr."""
    keyboard, terminal = pty.openpty()
    try:
        process = holdfast.start_at(terminal, *arguments)
        os.write(keyboard, keys_pressed.encode())
        ended = finish(process)
    finally:
        os.close(keyboard)
        os.close(terminal)
    return ended.code, ended.err


def test_an_amount_is_written_with_all_its_decimals(holdfast: CommandLine) -> None:
    """Nobody who means 40000 cents returns 40,000 euros, or the other way round."""
    run = played(holdfast, DEAL)
    reverse = ("escrow", "reverse", run.escrow, "2", *BY_OLGA, "--reason", "Less paint", "--yes", "--json")
    for wrong in ("40000", "400.0", "0.00", "-1.00", "1e2", "400.000"):
        said = error(holdfast(*reverse, f"--amount={wrong}"), 2)
        assert "2 decimals, like 123.45." in said["message"]
    assert answer(holdfast(*reverse, "--amount", "400.00"))["escrow"]["refunded"] == 40000
    assert (
        error(holdfast("escrow", "reverse", run.escrow, "3", *reverse[4:], "--amount", "1.00"), 4)["code"]
        == "not_found"
    )


def test_repair_brings_back_a_workflow_that_was_terminated_and_nothing_else(holdfast: CommandLine) -> None:
    """From the books alone; twice starts nothing twice, a dry run nothing at all; the escrow takes commands again."""
    run, untouched = played(holdfast, DEAL), played(holdfast, DEAL)
    assert answer(holdfast("repair", "--json"))["data"] == []
    lost = asyncio.run(_terminated(endpoints_of(holdfast), run))
    for arguments, done in ((("--dry-run",), "would be started"), (("--tenant", run.tenant), "started again")):
        found = answer(holdfast("repair", *arguments, "--json"))["data"]
        assert [(one["escrow"], one["workflow"], one["done"]) for one in found] == [(run.escrow, "terminated", done)]
    assert answer(holdfast("repair", "--json"))["data"] == []
    assert "Each has a workflow" in holdfast("repair", "--tenant", untouched.tenant).out
    status, now = asyncio.run(_workflow(endpoints_of(holdfast), run))
    assert status == WorkflowExecutionStatus.RUNNING
    assert now != lost
    forward = answer(holdfast("test-clock", "advance", "--tenant", run.tenant, "--by", "P30D", "--json"))
    assert forward == {"tenant": run.tenant, "ahead": "P30D"}
    assert answer(holdfast("escrow", "show", run.escrow, "--json"))["released"] == 100000  # its deadline came


async def _terminated(endpoints: Endpoints, run: Run) -> str | None:
    client = await Client.connect(endpoints.temporal_address, namespace=endpoints.temporal_namespace)
    await client.get_workflow_handle(escrow_workflow(run.escrow)).terminate("somebody's mistake")
    return (await _workflow(endpoints, run))[1]


async def _workflow(endpoints: Endpoints, run: Run) -> tuple[WorkflowExecutionStatus | None, str | None]:
    client = await Client.connect(endpoints.temporal_address, namespace=endpoints.temporal_namespace)
    found = await client.get_workflow_handle(escrow_workflow(run.escrow)).describe()
    return found.status, found.run_id


def test_an_interrupted_command_can_be_sent_again_by_its_id_and_happens_once(holdfast: CommandLine) -> None:
    """Ctrl-C while the worker stands still: the id is told, and with it the outcome is found out later."""
    run = played(holdfast, DEAL)
    worker = holdfast.children()["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        process = holdfast.start("escrow", "approve", run.escrow, "1", *BY_OLGA, "--yes")
        assert process.stderr is not None
        told = next(line for line in process.stderr if line.startswith("Command "))
        process.send_signal(signal.SIGINT)
        ended = finish(process)
    finally:
        os.kill(worker, signal.SIGCONT)
    command = told.split()[1]
    assert ended.code == 130
    assert f"--id {command}" in ended.err
    again = ("escrow", "approve", run.escrow, "1", *BY_OLGA, "--yes", "--id", command, "--json")
    assert answer(holdfast(*again))["escrow"]["released"] == 100000
    rows = answer(holdfast("audit", run.escrow, "--json"))["rows"]
    assert [row["outcome"] for row in rows if row["name"] == "approve_milestone"] == ["accepted"]


def test_an_outcome_that_cannot_be_learned_ends_with_5_and_the_id_to_ask_with(holdfast: CommandLine) -> None:
    """A script sees the difference to a refusal: something may have happened."""
    endpoints = endpoints_of(holdfast)
    temporal = {"target_host": endpoints.temporal_address, "namespace": endpoints.temporal_namespace}
    servers = Servers(endpoints.database_url, temporal, keys=endpoints.keys)
    desk = Office(Books(endpoints).engine(), servers, Progress(quiet=True), own=True)

    async def silence(_: Client, __: Sender) -> None:
        raise OutcomeUnknownError("nobody answers")

    with pytest.raises(EndedError, match="--id cmd_1") as raised:
        desk.see_to(silence, "cmd_1")
    assert (raised.value.exit_code, raised.value.code, raised.value.members) == (
        5,
        "outcome_unknown",
        {"command": "cmd_1"},
    )
    desk.engine.dispose()


def test_a_tenant_gets_keys_that_open_its_books_and_can_be_rotated_and_revoked(holdfast: CommandLine) -> None:
    """Keys are shown once; later lists have their ends only, and what was revoked opens nothing."""
    made = answer(holdfast("tenant", "create", "Shop\u202e", "--reporting-currency", "EUR", "--json"))
    assert set(made["keys"]) == {"live_key", "test_key", "operator_live_key", "operator_test_key"}
    engine = connect(endpoints_of(holdfast).api_database_url, 1)
    holder = keys.holder(engine, made["keys"]["live_key"]["key"])
    assert holder is not None
    assert (holder.tenant, holder.role, holder.mode) == (made["id"], "platform", "live")
    listed = holdfast("tenant", "keys", made["id"])
    assert not re.search(r"hf_(live|test)_", listed.out)
    assert len(answer(holdfast("tenant", "keys", made["id"], "--json"))["data"]) == 4
    old = made["keys"]["test_key"]
    rotate = ("tenant", "rotate-key", old["id"], "--tenant", made["id"])
    new = answer(holdfast(*rotate, "--grace", "PT1H", "--json"))
    assert keys.holder(engine, old["key"])
    assert answer(holdfast("tenant", "revoke-key", old["id"], "--tenant", made["id"], "--json"))["revoked"]
    assert keys.holder(engine, old["key"]) is None
    renewed = keys.holder(engine, new["key"])
    assert renewed is not None
    assert renewed.tenant == made["test_id"]
    engine.dispose()
    ids = [one["id"] for one in answer(holdfast("tenant", "list", "--json", "--limit", "1000"))["data"]]
    assert {made["id"], made["test_id"]} <= set(ids)
    assert r"Shop\u202e" in holdfast("tenant", "show", made["id"]).out
    last = made["keys"]["operator_live_key"]["id"]
    assert error(holdfast("tenant", "revoke-key", last, "--tenant", made["id"], "--json"), 3)["code"] == "conflict"
    odd = error(holdfast("tenant", "create", "Shop", "--reporting-currency", "XXY", "--json"), 3)
    assert (odd["code"], "XXY" in odd["message"]) == ("invalid_command", True)
    clock = ("test-clock", "advance", "--tenant", made["id"], "--by", "P1D", "--json")
    assert error(holdfast(*clock), 3)["code"] == "forbidden"


def test_lists_go_on_where_the_page_before_ended(holdfast: CommandLine) -> None:
    """Page after page gives every escrow once, the newest first."""
    runs = [played(holdfast, DEAL) for _ in range(3)]
    for run in runs:
        assert answer(holdfast("escrow", "list", "--tenant", run.tenant, "--json"))["data"][0]["id"] == run.escrow
    found: list[str] = []
    after: tuple[str, ...] = ()
    while True:
        page = answer(holdfast("escrow", "list", "--limit", "2", *after, "--json"))
        found += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        after = ("--after", found[-1])
    assert found == sorted(set(found), reverse=True)
    assert {run.escrow for run in runs} <= set(found)
    assert answer(holdfast("escrow", "list", "--state", "completed", "--buyer", "nobody", "--json"))["data"] == []


def test_scripts_get_every_mistake_as_one_json_object_and_an_exit_code(holdfast: CommandLine) -> None:
    """2 for what makes no sense, 4 for what is not there; nothing on stdout."""
    nothing = "0" * 26
    resolve = ("dispute", "resolve", f"dsp_{nothing}", *BY_OLGA, "--details", "Why", "--yes")
    for arguments, code, named in (
        (("escrow", "show", f"esc_{nothing}"), 4, "not_found"),
        (("payout", "retry", f"pay_{nothing}", *BY_OLGA, "--yes"), 4, "not_found"),
        (("tenant", "keys", f"ten_{nothing}"), 4, "not_found"),
        (("repair", "--tenant", f"ten_{nothing}"), 4, "not_found"),
        (("test-clock", "advance", "--tenant", f"ten_{nothing}", "--by", "P1D"), 4, "not_found"),
        (("test-clock", "advance", "--tenant", f"ten_{nothing}", "--by", "14 days"), 2, "wrong_input"),
        (("escrow", "list", "--after", "esc_1"), 2, "wrong_input"),
        (("escrow", "complete", f"esc_{nothing}", "--yes"), 2, "wrong_input"),
        (("report", "fees", "--tenant", "x"), 4, "not_found"),
        (("audit", "esc_unknown"), 4, "not_found"),
        (("verify", "--escrow", f"esc_{nothing}"), 4, "not_found"),
        (("screen", "bob", "--tenant", f"ten_{nothing}"), 4, "not_found"),
        (("run", EXAMPLES / "wedding.yaml", "--run-id", "20260101-000000-abcdef"), 4, "not_found"),
        ((*resolve, "--resolution", "split"), 2, "wrong_input"),
        ((*resolve, "--resolution", "partial_refund"), 2, "wrong_input"),
        ((*resolve, "--resolution", "mediation", "--seller-share", "0.5"), 2, "wrong_input"),
        (("api",), 2, "wrong_input"),
    ):
        said = error(holdfast(*arguments, "--json"), code)
        assert said["code"] == named, arguments
        assert said["message"], arguments


def test_a_deal_that_fails_is_one_error_beside_its_report(holdfast: CommandLine) -> None:
    """Exit code 1, the report on stdout with its problems, and the same once more on stderr."""
    file = holdfast.home.parent / "deal.yaml"
    file.write_text(
        "title: A logo\ntenant: {name: Studio}\nparties: {alice: , bob: }\n"
        "escrow: {buyer: alice, seller: bob, amount: 10, currency: EUR}\n"
        "actions: [{actor: alice, do: fund}]\n",
        encoding="utf-8",
    )
    ended = holdfast("run", file, "--json")
    assert ended.code == 1, ended
    problems = json.loads(ended.out)["problems"]
    assert json.loads(ended.err) == {"error": {"code": "deal_failed", "message": "\n".join(problems)}}
    assert "payment_required" in problems[0]


def test_the_api_says_which_settings_it_needs(holdfast: CommandLine) -> None:
    """All that is missing at once."""
    ended = holdfast("api")
    assert ended.code == 2
    assert "HOLDFAST_API_DATABASE_URL and TEMPORAL_ADDRESS and HOLDFAST_KEYS must be set" in ended.err


def test_operators_work_on_servers_of_their_own_as_on_the_embedded_ones(holdfast: CommandLine) -> None:
    """Whatever the settings name; only the role of the API makes keys, and nothing is sent without master keys."""
    run = played(holdfast, DEAL)
    ours = endpoints_of(holdfast).environment()
    approve = ("escrow", "approve", run.escrow, "1", *BY_OLGA, "--yes", "--json")
    keyless = {
        name: value for name, value in ours.items() if name not in {"HOLDFAST_KEYS", "HOLDFAST_API_DATABASE_URL"}
    }
    assert "HOLDFAST_KEYS" in error(holdfast(*approve, **keyless), 2)["message"]
    said = error(holdfast("tenant", "keys", run.tenant, "--json", **keyless), 2)
    assert "HOLDFAST_API_DATABASE_URL" in said["message"]
    assert answer(holdfast(*approve, **ours))["escrow"]["released"] == 100000
    assert answer(holdfast("tenant", "keys", run.tenant, "--json", **ours))["data"] == []
