"""``holdfast run`` and ``holdfast up`` on real servers: the story, the money to the cent, every accident."""

import os
import re
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Engine

from ledger import reads
from models import ids
from models.states import MilestoneStatus, PayoutStatus, State
from starter.deals.runs import Run
from starter.embedded.home import running
from tests.end_to_end.command_line import EXAMPLES, PROGRAM, Books, CommandLine, Ended, finish, runs, squeezed
from tests.servers import eventually

WEBSITE: Final = EXAMPLES / "website-redesign.yaml"
CANCELLED: Final = EXAMPLES / "cancelled-half-way.yaml"
# Fourteen days after the submission the system would approve.
OVERDUE: Final = """
  - {actor: bob, do: submit_milestone, milestone: 1}
  - {do: advance_clock, by: P14D}
"""
# As the program says it: in a directory with a blank in its name, too, the line can be copied.
PLAY_WEBSITE: Final = f"{shlex.quote(str(PROGRAM))} run {shlex.quote(str(WEBSITE))}"
# Of every accident the same end is expected: fee 500.00, seller 3,960.00, buyer 540.00.
WEBSITE_PAYOUTS: Final = [135000, 126000, 135000]


@pytest.fixture(scope="module")
def holdfast() -> Iterator[CommandLine]:
    """A home where ``holdfast up`` runs all the while; its end is checked, too."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        with command_line.up():
            yield command_line


@pytest.fixture(scope="module")
def books(holdfast: CommandLine) -> Books:
    endpoints = running(holdfast.home)
    assert endpoints is not None
    return Books(endpoints)


@pytest.fixture(scope="module")
def engine(books: Books) -> Iterator[Engine]:
    engine = books.engine()
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def website(holdfast: CommandLine) -> tuple[Run, Ended]:
    """The EUR 5,000 story, played once."""
    ended = holdfast("run", WEBSITE)
    return holdfast.runs()[0], ended


def test_the_website_redesign_comes_out_to_the_cent(website: tuple[Run, Ended], books: Books, engine: Engine) -> None:
    """EUR 5,000: a release, a split and an automatic release; 3,960 to the seller, 540 back, 500 for the platform."""
    _check_website(*website, books, engine)


def test_the_report_tells_the_story(website: tuple[Run, Ended]) -> None:
    """Who did what, where it led, what moved, what the gateway confirmed, and where to look further."""
    run, ended = website
    report = squeezed(ended.out)
    assert report[0] == "Website redesign: 5,000.00 EUR from alice to bob, completed"
    assert "6 alice approve_milestone 1 milestone_approved bob 1,350.00, fee 150.00" in report
    assert "10 olga resolve_dispute split 0.70 in_progress bob 1,260.00, alice 540.00, fee 200.00" in report
    assert "system auto_approved 3 completed bob 1,350.00, fee 150.00" in report
    assert "milestone 2 split 2,000.00 200.00 1,260.00 540.00 split/* 0.10 (v1)" in report
    assert any(line.startswith("bob acct_bob 1,260.00 paid tr_") for line in report)
    assert any(line.endswith("split wallet EUR +540.00 540.00") for line in report)
    assert any(line.startswith("total EUR ") and line.endswith(" difference 0.00") for line in report)
    assert f"/namespaces/default/workflows/escrow%3A{run.escrow}" in report[-1]
    program = shlex.quote(str(PROGRAM))
    assert ended.err.splitlines()[-2:] == [
        f"Reports: {program} report fees --tenant {run.tenant}",
        f"Audit:   {program} audit {run.escrow}",
    ]


def test_the_wedding_is_divided_by_its_template(holdfast: CommandLine, books: Books, engine: Engine) -> None:
    """100,000 THB: 30,000 due at the event, 40,000 thirty days before, 30,000 the day after, titles in Thai."""
    ended = holdfast("run", EXAMPLES / "wedding.yaml")
    assert ended.code == 0, ended
    escrow = reads.escrow(engine, holdfast.runs()[0].escrow)
    assert escrow is not None
    assert [(one.amount, str(one.due), one.description) for one in escrow.milestones] == [
        (3000000, "2026-06-15", "มัดจำเริ่มต้น"),
        (4000000, "2026-05-16", "งวดที่ 2"),
        (3000000, "2026-06-16", "งวดสุดท้าย"),
    ]
    assert "มัดจำเริ่มต้น" in ended.out
    assert books.transfers("acct_garden_hall") == [3800000, 2850000, 2850000]


def test_a_deal_cancelled_half_way_returns_what_is_refundable(
    holdfast: CommandLine, books: Books, engine: Engine
) -> None:
    """Of USD 1,200.50 the approved 400.25 stays with the seller, 800.25 returns; refusals on the way are the story."""
    ended = holdfast("run", CANCELLED)
    assert ended.code == 0, ended
    run = holdfast.runs()[0]
    escrow = reads.escrow(engine, run.escrow)
    assert escrow is not None
    assert (escrow.state, escrow.released, escrow.refunded) == (State.CANCELLED, 40025, 80025)
    assert [one.status for one in escrow.milestones] == [MilestoneStatus.PAID, MilestoneStatus.CANCELLED]
    assert reads.wallets(engine, run.tenant, "carol")[0].available == 82025
    assert books.transfers("acct_dan") == [36022]
    assert any(
        "refused: payment_required the wallet has 1,200.50 USD available" in line for line in squeezed(ended.out)
    )


def test_playing_a_run_again_changes_no_row(holdfast: CommandLine, website: tuple[Run, Ended], books: Books) -> None:
    """``--run-id`` of a run that has ended answers what is stored: the same report, and no row changed or added."""
    run, first = website
    before = books.at_rest()
    again = holdfast("run", WEBSITE, "--run-id", run.id)
    assert (again.code, again.out) == (0, first.out)
    assert books.at_rest() == before


def test_a_killed_run_is_found_and_resumed(holdfast: CommandLine, books: Books, engine: Engine) -> None:
    """After kill -9 the next run names the command that goes on; it does, and nothing happens twice."""
    process = holdfast.start("run", WEBSITE)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("8/12"):
            break
    process.kill()
    finish(process)
    killed = holdfast.runs()[0]
    said = holdfast("run", WEBSITE)
    assert said.code == 0
    assert f"was interrupted. To go on with that one: {PLAY_WEBSITE} --run-id {killed.id}" in said.err
    assert holdfast.runs()[0].id != killed.id
    resumed = holdfast("run", WEBSITE, "--run-id", killed.id)
    _check_website(killed, resumed, books, engine)


def test_an_interrupted_run_says_how_to_go_on(holdfast: CommandLine) -> None:
    """SIGTERM in the middle: exit code 130 and the command that resumes."""
    process = holdfast.start("run", WEBSITE)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("3/12"):
            process.send_signal(signal.SIGTERM)
            break
    ended = finish(process)
    assert ended.code == 130
    assert f"To go on with this run: {PLAY_WEBSITE} --run-id {holdfast.runs()[0].id}" in ended.err


@pytest.mark.timeout(240)  # a kill in the middle of a gateway call is only noticed when its 75 seconds are over
def test_a_worker_killed_again_and_again_costs_nobody_a_cent(
    holdfast: CommandLine, books: Books, engine: Engine
) -> None:
    """kill -9 of the worker while a command is under way, and of those that come after it: every amount moves once."""
    process = holdfast.start("run", WEBSITE)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("6/12"):
            for _ in range(3):
                os.kill(eventually(lambda: _worker(holdfast)) or 0, signal.SIGKILL)
    _check_website(holdfast.runs()[0], finish(process), books, engine)


def test_it_runs_on_servers_of_one_s_own(holdfast: CommandLine, books: Books) -> None:
    """With both addresses set nothing is embedded: another home, the same servers, no UI to link to."""
    theirs = books.endpoints.environment()
    ended = holdfast("run", CANCELLED, HOLDFAST_HOME=str(holdfast.home.parent / "elsewhere"), **theirs)
    assert ended.code == 0, ended
    assert "In Temporal: workflow escrow:esc_" in ended.out
    assert [path.name for path in (holdfast.home.parent / "elsewhere").iterdir()] == ["runs"]


@pytest.mark.parametrize("decides", ["the file alone", "the environment"])
def test_a_file_env_leads_to_servers_of_one_s_own(books: Books, tmp_path: Path, decides: str) -> None:
    """TEMPORAL_* counts in ``.env`` as HOLDFAST_* does; what the environment says comes first."""
    theirs, elsewhere = books.endpoints.environment(), CommandLine(tmp_path)
    said = theirs if decides == "the file alone" else theirs | {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in said.items()))
    environment = {} if decides == "the file alone" else {"TEMPORAL_ADDRESS": theirs["TEMPORAL_ADDRESS"]}
    ended = elsewhere("run", CANCELLED, **environment)
    assert ended.code == 0, ended
    assert "In Temporal: workflow escrow:esc_" in ended.out
    assert elsewhere.children() == {}


def test_a_deadline_that_was_put_off_needs_attention(holdfast: CommandLine, tmp_path: Path) -> None:
    """No fee rule, no automatic approval: the story names the milestone and why, and the exit code is 1."""
    file = tmp_path / "deal.yaml"
    file.write_text(
        _up_to(WEBSITE, "  # Milestone 1 goes well").replace("outcome: release", "outcome: release, category: art")
        + OVERDUE
    )
    ended = holdfast("run", file)
    assert ended.code == 1, ended
    assert any(
        line.startswith("system deadline.deferred 1 milestone_pending fee_policy_not_found:")
        for line in squeezed(ended.out)
    )
    assert "Needs attention: fee_policy_not_found: " in ended.out
    assert "Needs attention: fee_policy_not_found: " in ended.err.splitlines()[-1]


def test_an_open_dispute_is_shown_and_is_no_failure(holdfast: CommandLine, tmp_path: Path) -> None:
    """A story may end while a person judges."""
    file = tmp_path / "deal.yaml"
    file.write_text(_up_to(WEBSITE, "  # An operator takes the case"))
    ended = holdfast("run", file)
    assert ended.code == 0, ended
    assert re.search(r"^Needs attention: dispute dsp_\w+ is open$", ended.out, re.MULTILINE)


def test_what_needs_no_server_is_answered_without(tmp_path: Path) -> None:
    """The version, a file that was forgotten, and a worker that finds nobody: one line each, nothing of Rust."""
    holdfast = CommandLine(tmp_path)
    assert holdfast("--version").out == holdfast("version").out
    forgotten = holdfast("run")
    assert forgotten.code == 2
    assert f"For example: {shlex.quote(str(PROGRAM))} run examples/website-redesign.yaml" in forgotten.err
    nobody = holdfast(
        "worker",
        TEMPORAL_ADDRESS="127.0.0.1:1",
        HOLDFAST_DATABASE_URL="postgresql+psycopg://a:b@127.0.0.1:1/c",
        HOLDFAST_KEYS=f"k1:{'A' * 43}=",
    )
    assert nobody.code == 1
    assert nobody.err.splitlines() == [
        "The worker cannot start: Temporal at 127.0.0.1:1 cannot be reached: connection refused"
    ]


def test_what_is_empty_says_so(holdfast: CommandLine, tmp_path: Path) -> None:
    """Before any release there is neither a settlement nor a payout."""
    file = tmp_path / "deal.yaml"
    file.write_text(_up_to(WEBSITE, "  # Milestone 1 goes well"))
    ended = holdfast("run", file, "--home", holdfast.home, COLUMNS="80")
    assert ended.code == 0, ended
    assert "Settlements\n  none\n\nPayouts\n  none\n" in ended.out
    assert max(len(line) for line in ended.out.split("The escrow is")[0].splitlines()) <= 80


def test_a_story_that_goes_otherwise_fails(holdfast: CommandLine, tmp_path: Path) -> None:
    """A refusal that the file did not expect ends the run with exit code 1, and the report says where."""
    file = tmp_path / "deal.yaml"
    story = CANCELLED.read_text().replace(", expect: {refused: forbidden}", "")
    file.write_text(story)
    ended = holdfast("run", file)
    assert ended.code == 1
    line = 1 + story.splitlines().index("  - {actor: carol, do: cancel}")
    assert (
        f"Problem: {file}:{line}: step 9 (carol: cancel) was refused with forbidden: the buyer may cancel only before"
        in ended.out
    )
    assert "difference 0.00" in ended.out
    assert ended.err.splitlines()[-1].startswith("Problem: ")


def test_a_deal_may_end_in_the_middle(holdfast: CommandLine, tmp_path: Path) -> None:
    """An escrow that is not over is fine: the report says whom it waits for."""
    file = tmp_path / "deal.yaml"
    story, _, _ = CANCELLED.read_text().partition("  - {actor: carol, do: approve_milestone")
    file.write_text(story)
    ended = holdfast("run", file)
    assert ended.code == 0, ended
    assert "The escrow is milestone_pending and waits for the buyer to review milestone 1, until " in ended.out


def test_a_payout_that_fails_is_told(holdfast: CommandLine, tmp_path: Path) -> None:
    """A closed account: the deal is not done, and the exit code says so."""
    file = tmp_path / "deal.yaml"
    file.write_text(CANCELLED.read_text().replace("acct_dan", "acct_closed_dan"))
    ended = holdfast("run", file)
    assert ended.code == 1
    assert "Problem: the payout of 360.22 USD to dan failed: account_closed" in ended.out


@pytest.mark.parametrize("does", ["request_payout", "retry_payout"])
def test_a_payout_that_there_is_not_is_refused_at_once(holdfast: CommandLine, tmp_path: Path, does: str) -> None:
    """Nothing is on its way any more, so nothing is waited for; a story may be about that."""
    file = tmp_path / "deal.yaml"
    story = _up_to(CANCELLED, "  # Once work has begun")
    file.write_text(f"{story}  - {{actor: dan, do: {does}, payout: 2}}\n")
    began = time.monotonic()
    ended = holdfast("run", file)
    assert time.monotonic() - began < 30
    assert ended.code == 1, ended
    assert f"{does} 2) was refused with not_found: there is 1 payout" in ended.err.splitlines()[-1]
    file.write_text(file.read_text().replace("payout: 2}", "payout: 2, expect: {refused: not_found}}"))
    assert holdfast("run", file).code == 0


def test_a_fixed_fee_is_not_told_as_a_rate_of_nothing(holdfast: CommandLine, tmp_path: Path) -> None:
    """5.00 of every release, whatever its size."""
    file = tmp_path / "deal.yaml"
    file.write_text(
        _up_to(WEBSITE, "  # An operator takes").replace("outcome: release, rate: 0.10", "outcome: release, fixed: 5")
    )
    ended = holdfast("run", file)
    assert ended.code == 0, ended
    assert "milestone 1 release 1,500.00 5.00 1,495.00 - release/* fixed (v1)" in squeezed(ended.out)


def test_a_second_up_is_told_of_the_first(holdfast: CommandLine) -> None:
    """Exit code 1, one message that says where the first one is; the first goes on."""
    children = holdfast.children()
    ended = holdfast("up")
    assert ended.code == 1
    assert "A stack already runs in" in ended.err
    assert "Traceback" not in ended.err
    assert holdfast.children() == children
    assert all(runs(pid) for pid in children.values())


def test_without_a_stack_it_starts_one_and_takes_it_down(tmp_path: Path) -> None:
    """The very first command on a new machine: everything comes up, the deal is played, and nothing stays behind."""
    with tempfile.TemporaryDirectory() as directory:
        holdfast = CommandLine(Path(directory))
        process = holdfast.start("run", WEBSITE)
        children = eventually(lambda: found if len(found := holdfast.children()) == 4 else {}, within=60)
        ended = finish(process)
        assert ended.code == 0, ended
        assert not any(runs(pid) for pid in children.values())
        assert running(holdfast.home) is None
        assert not [one for one in ended.out + ended.err if one < " " and one != "\n"]


def _up_to(file: Path, comment: str) -> str:
    story, found, _ = file.read_text().partition(comment)
    assert found
    return story


def _worker(holdfast: CommandLine) -> int | None:
    pid = holdfast.children().get("worker")
    return pid if pid and runs(pid) else None


def _check_website(run: Run, ended: Ended, books: Books, engine: Engine) -> None:
    """The numbers of the EUR 5,000 story, in the books and at the gateway: each amount once."""
    assert ended.code == 0, ended
    escrow = reads.escrow(engine, run.escrow)
    assert escrow is not None
    assert (escrow.state, escrow.released, escrow.refunded) == (State.COMPLETED, 446000, 54000)
    assert [one.status for one in escrow.milestones] == [MilestoneStatus.PAID] * 3
    settled = [
        (row["total"], row["platform_fee"], row["seller_payout"], row["buyer_refund"])
        for row in reads.settlements(engine, run.escrow)
    ]
    assert settled == [(150000, 15000, 135000, 0), (200000, 20000, 126000, 54000), (150000, 15000, 135000, 0)]
    balances = {line.account: line.balance for line in reads.trial_balance(engine, run.tenant)}
    left = {account: balance for account, balance in balances.items() if balance}
    assert left == {"fee_revenue": 50000, "gateway_cash": 104000, "wallet": 54000}
    assert [(one.amount, one.status) for one in escrow.payouts] == [(n, PayoutStatus.PAID) for n in WEBSITE_PAYOUTS]
    for payout in escrow.payouts:
        sent = [one for one in books.journal(ids.payout_key(payout.id, 1)) if one["reference"]]
        assert {one["reference"] for one in sent} == {payout.reference}
    assert "difference 0.00" in ended.out
