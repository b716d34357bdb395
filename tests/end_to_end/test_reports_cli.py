"""``holdfast report``, ``audit`` and ``verify`` as people use them, on the books of a deal that was really played."""

import csv
import io
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from sqlalchemy import make_url

from starter.deals.runs import Run
from starter.embedded.stack import Stack, running
from tests.end_to_end.command_line import EXAMPLES, ROOT, CommandLine, squeezed
from tests.servers import Connection

KINDS: Final = ("liquidity", "trial-balance", "fees", "settlements")


@pytest.fixture(scope="module")
def holdfast() -> Iterator[CommandLine]:
    """A home where ``holdfast up`` runs and the EUR 5,000 story was played."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        with command_line.up():
            assert command_line("run", EXAMPLES / "website-redesign.yaml").code == 0
            yield command_line


@pytest.fixture(scope="module")
def played(holdfast: CommandLine) -> Run:
    """The run of the story."""
    return holdfast.runs()[0]


def table(text: str) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(text)))


@contextmanager
def tampering(holdfast: CommandLine) -> Iterator[Connection]:
    """A superuser with every trigger switched off."""
    endpoints = running(holdfast.home)
    assert endpoints is not None
    url = make_url(endpoints.database_url).set(drivername="postgresql", username="postgres")
    password = json.loads((holdfast.home / "secrets.json").read_text())["postgres"]
    with psycopg.connect(url.set(password=password).render_as_string(hide_password=False)) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def test_a_newcomer_finds_the_tenant_of_the_run(holdfast: CommandLine, played: Run) -> None:
    """``report tenants`` has its id and the escrow's, whole, ready to be copied; asking without says where to look."""
    listed = holdfast("report", "tenants")
    assert listed.code == 0, listed
    assert played.tenant in listed.out
    assert played.escrow in listed.out
    for asked, code in (
        (("report", "fees"), 2),
        (("report", "fees", "--tenant", "ten_unknown"), 4),
        (("verify", "--tenant", "x\x1b[2J"), 4),
    ):
        refused = holdfast(*asked)
        assert (refused.code, refused.out) == (code, "")
        assert played.tenant in refused.err
        assert "\x1b" not in refused.err
    for wanted, code in (
        (("audit",), 2),
        (("audit", "esc_unknown"), 4),
        (("verify", "--escrow", "esc_unknown"), 4),
    ):
        refused = holdfast(*wanted)
        assert (refused.code, refused.out) == (code, "")
        assert played.escrow in refused.err


def test_fees_settlements_and_balances_are_those_of_the_story(holdfast: CommandLine, played: Run) -> None:
    """EUR 5,000: 500 earned, 3,960 to the seller, 540 back; the rest of the buyer's money is still there."""
    texts = {kind: holdfast("report", kind, "--tenant", played.tenant) for kind in KINDS}
    assert {ended.code for ended in texts.values()} == {0}
    lines = {kind: squeezed(ended.out) for kind, ended in texts.items()}
    assert "total EUR web split 1 200.00 - - 200.00" in lines["fees"]
    assert "total EUR 3 500.00 - - 500.00" in lines["fees"]
    assert "total 3 EUR 5,000.00 500.00 - 3,960.00 540.00 -" in lines["settlements"]
    assert "total 3 EUR EUR 5,000.00 500.00 3,960.00 540.00" in lines["settlements"]
    assert "total EUR there cash 1,040.00" in lines["liquidity"]
    assert "total EUR owed all liabilities 540.00" in lines["liquidity"]
    assert "total EUR fee_revenue credit - - 500.00 500.00" in lines["trial-balance"]
    assert all(any(line.startswith("Ties to the last unit") for line in told) for told in lines.values())


def test_csv_and_json_have_the_same_figures_as_each_other(holdfast: CommandLine, played: Run, tmp_path: Path) -> None:
    """By day, in minor and major units; to a file or to stdout, byte for byte."""
    for kind in ("liquidity", "settlements"):
        asked = ("report", kind, "--tenant", played.tenant, "--by", "day", "--format")
        written = holdfast(*asked, "csv", "--output", tmp_path / "report.csv")
        assert (written.code, written.out) == (0, "")
        rows = table((tmp_path / "report.csv").read_bytes().decode())
        document = json.loads(holdfast(*asked, "json").out)
        assert rows == [{name: str(value) for name, value in row.items()} for row in document["rows"]]
        assert len(rows) >= 2
        assert document["ties"] is True
    earned = table(holdfast("report", "fees", "--tenant", played.tenant, "--format", "csv").out)
    assert sum(int(row["earned_minor"]) for row in earned) == 50000


def test_a_span_takes_its_first_day_and_not_its_last(holdfast: CommandLine, played: Run) -> None:
    """The days of two spans that touch are all the days; a span of nothing says so."""
    asked = ("report", "settlements", "--tenant", played.tenant, "--by", "day", "--format", "csv")
    days = sorted({row["period"] for row in table(holdfast(*asked).out)})
    before, after = holdfast(*asked, "--to", days[-1]), holdfast(*asked, "--from", days[-1])
    assert [sorted({row["period"] for row in table(ended.out)}) for ended in (before, after)] == [days[:-1], days[-1:]]
    nothing = holdfast("report", "settlements", "--tenant", played.tenant, "--to", "2020-01-01")
    assert (nothing.code, "Nothing was settled in this time." in nothing.out) == (0, True)
    header = holdfast("report", "settlements", "--tenant", played.tenant, "--to", "2020-01-01", "--format", "csv")
    assert (header.code, len(header.out.splitlines())) == (0, 1)


@pytest.mark.parametrize("by", ["day", "month", "total"])
def test_balances_are_told_though_nothing_was_posted_for_long(holdfast: CommandLine, played: Run, by: str) -> None:
    """Years later the money is still there, and the report says so for people and for machines."""
    asked = ("--tenant", played.tenant, "--by", by, "--from", "2099-06-01")
    label = {"day": "2099-06-01", "month": "2099-06", "total": "total"}[by]
    assert f"{label} EUR there cash 1,040.00" in squeezed(holdfast("report", "liquidity", *asked).out)
    rows = table(holdfast("report", "trial-balance", *asked, "--format", "csv").out)
    balances = {row["account"]: row["closing"] for row in rows if row["period"] == label}
    assert (balances["gateway_cash"], balances["wallet"], balances["fee_revenue"]) == ("1040.00", "540.00", "500.00")
    nothing = holdfast("report", "liquidity", "--tenant", played.tenant, "--by", by, "--to", "2020-01-01")
    assert (nothing.code, "Nothing was posted up to then." in nothing.out) == (0, True)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--tenant", "ten_x"), "--tenant"),
        (("--from", "2026-01-01", "--by", "day"), "--from, --by"),
        (("--to", "2026-01-01"), "--to"),
    ],
)
def test_the_list_of_tenants_takes_no_limits(holdfast: CommandLine, given: tuple[str, ...], named: str) -> None:
    """They would be ignored, so they are refused; the format is no limit."""
    ended = holdfast("report", "tenants", *given)
    assert (ended.code, ended.out) == (2, "")
    assert f"`report tenants` lists all tenants as they are now: it does not take {named}." in ended.err
    assert holdfast("report", "tenants", "--format", "csv").code == 0


def test_another_tenant_s_escrow_is_not_found(holdfast: CommandLine, played: Run) -> None:
    """The answer names nobody else's escrows."""
    with tampering(holdfast) as superuser:
        superuser.execute(
            "INSERT INTO tenant (id, name, mode, reporting_currency) VALUES ('ten_o', 'O', 'test', 'EUR')"
        )
    other = holdfast("verify", "--tenant", "ten_o", "--escrow", played.escrow)
    own = holdfast("verify", "--tenant", played.tenant, "--escrow", "esc_unknown")
    with tampering(holdfast) as superuser:
        superuser.execute("DELETE FROM tenant WHERE id = 'ten_o'")
    assert (other.code, other.out) == (own.code, own.out) == (4, "")
    assert other.err.splitlines()[-1] == f"ten_o has no escrow {played.escrow}; it has none yet"
    assert own.err.splitlines()[-1] == f"{played.tenant} has no escrow esc_unknown; its latest is {played.escrow}"
    assert holdfast("verify", "--tenant", played.tenant, "--escrow", played.escrow).code == 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--from", "2026-13-01"), "--from 2026-13-01 is not a day"),
        (("--from", "2026-02-01", "--to", "2026-01-01"), "has to be before"),
        (("--output", "/nowhere/x.csv"), "/nowhere/x.csv cannot be written"),
        (("--by", "week"), "week"),
        (("--format", "xml"), "xml"),
    ],
)
def test_what_cannot_be_asked_is_said(holdfast: CommandLine, played: Run, asked: tuple[str, ...], says: str) -> None:
    """Exit code 2, what is wrong, nothing on stdout."""
    ended = holdfast("report", "fees", "--tenant", played.tenant, *asked)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert "Traceback" not in ended.err


def test_the_audit_tells_the_story_with_its_money(holdfast: CommandLine, played: Run) -> None:
    """In order, who did what, what it said, what moved, and that the chain is whole."""
    told = holdfast("audit", played.escrow)
    assert told.code == 0, told
    lines = squeezed(told.out)
    assert lines[0].startswith(f"Audit of {played.escrow}: Website redesign, from alice to bob, completed, version ")
    commands = [line for line in lines if line.startswith("#")]
    assert commands[0].startswith("#1 ")
    assert commands[0].endswith("alice (buyer): create, accepted, version 0 -> 1")
    assert any(line.startswith("settles split 2,000.00 EUR: fee 200.00 EUR, seller 1,260.00 EUR") for line in lines)
    assert "credit fee_revenue of platform 200.00 EUR" in lines
    assert lines[-1].startswith(f"The chain is whole: {len(commands)} rows. Its head is ")


def test_anybody_can_check_the_chain_with_what_the_docs_say(holdfast: CommandLine, played: Run) -> None:
    """The program in docs/reports.md, given the export and nothing of ours, finds it whole; and one changed letter."""
    page = (ROOT / "docs/reports.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)

    def check(text: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "-c", program]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    exported = holdfast("audit", played.escrow, "--format", "json").out
    document = json.loads(exported)
    checked = check(exported)
    assert (checked.returncode, checked.stdout) == (0, f"whole, head {document['rows'][-1]['hash']}\n"), checked
    document["rows"][4]["command_id"] += "x"
    checked = check(json.dumps(document))
    assert (checked.returncode, checked.stderr) == (1, "broken at position 5\n"), checked


def test_servers_of_ones_own_are_read_as_well(holdfast: CommandLine) -> None:
    """Only PostgreSQL is asked; one that is not there is an error of a line, exit code 1."""
    endpoints = running(holdfast.home)
    assert endpoints is not None
    own = {"HOLDFAST_DATABASE_URL": endpoints.database_url, "TEMPORAL_ADDRESS": "127.0.0.1:1"}
    found = holdfast("verify", **own)
    assert (found.code, found.out.startswith("Whole: ")) == (0, True)
    away = holdfast("verify", **(own | {"HOLDFAST_DATABASE_URL": "postgresql+psycopg://x:y@127.0.0.1:1/holdfast"}))
    assert (away.code, away.out) == (1, "")
    assert "PostgreSQL cannot be reached" in away.err
    assert "Traceback" not in away.err


def test_tampering_is_found_and_named(holdfast: CommandLine, played: Run) -> None:
    """Exit code 1, the escrow, the position, the row and what is wrong with it; put right, all is whole again."""
    whole = holdfast("verify")
    assert whole.code == 0, whole
    assert re.match(r"Whole: \d+ audit rows of 1 escrow checked", whole.out)
    change = "UPDATE audit SET details = replace(details::text, '0.70', '0.07')::json WHERE name = 'resolve_dispute'"
    with tampering(holdfast) as superuser:
        superuser.execute(change)
    found = holdfast("verify", "--tenant", played.tenant)
    told = json.loads(holdfast("verify", "--escrow", played.escrow, "--json").out)
    story = holdfast("audit", played.escrow)
    with tampering(holdfast) as superuser:
        superuser.execute(change.replace("'0.70', '0.07'", "'0.07', '0.70'"))
    finding: dict[str, Any] = told["findings"][0]
    assert (told["whole"], finding["escrow"], finding["kind"]) == (False, played.escrow, "changed")
    assert (found.code, story.code) == (1, 1)
    first = f"First: escrow {played.escrow}, position {finding['position']}, audit row {finding['audit']}: changed: "
    assert first in found.out
    assert first in story.out
    assert holdfast("verify", "--json").code == 0


def test_a_story_with_hostile_text_is_harmless(holdfast: CommandLine, played: Run) -> None:
    """A title that would turn the line around and colour the terminal is shown, not obeyed."""
    with tampering(holdfast) as superuser:
        superuser.execute("UPDATE escrow SET title = E'\\x1b[31mred\\u202eder' WHERE id = %s", (played.escrow,))
    told = holdfast("audit", played.escrow).out
    with tampering(holdfast) as superuser:
        superuser.execute("UPDATE escrow SET title = 'Website redesign' WHERE id = %s", (played.escrow,))
    assert r"\u001b[31mred\u202eder" in told
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_without_any_books_it_says_how_to_get_some() -> None:
    """No stack is made for the sake of an empty report."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        ended = command_line("verify")
        assert (ended.code, ended.out) == (2, "")
        assert "There are no books in" in ended.err
        assert " run examples/website-redesign.yaml" in ended.err
        assert not command_line.home.exists()


def test_a_stack_is_started_for_the_time_of_a_report() -> None:
    """Where none runs, the books are opened, read and closed again."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        with Stack(command_line.home, progress=lambda _: None, worker=False):
            pass
        ended = command_line("verify")
        assert (ended.code, ended.out) == (0, WHOLE)
        assert running(command_line.home) is None


WHOLE: Final = "Whole: 0 audit rows of 0 escrows checked, every hash, and the money that belongs to them.\n"
