"""``holdfast screen`` as people use it: on a stack that is up, and on one that is started for it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from starter.embedded.home import running
from tests.end_to_end.command_line import EXAMPLES, CommandLine


@pytest.fixture
def holdfast() -> Iterator[CommandLine]:
    """A home where nothing was done yet."""
    with tempfile.TemporaryDirectory() as directory:
        yield CommandLine(Path(directory))


def test_a_party_is_screened_on_the_stack_that_is_up_and_on_one_that_is_started_for_it(holdfast: CommandLine) -> None:
    """One line on stdout, exit code 0; mistakes end with 2 or 4; the list of the stack's worker counts."""
    names = holdfast.home.parent / "blocklist.csv"
    with holdfast.up():
        assert holdfast("run", EXAMPLES / "website-redesign.yaml").code == 0
        tenant = holdfast.runs()[0].tenant
        screened = holdfast("screen", "bob", "--tenant", tenant)
        assert (screened.code, screened.out) == (
            0,
            "bob: declared: KYC none, not blocked; 0 held payouts looked at again\n",
        ), screened
        for arguments, code, said in (
            ((), 2, "needs to know whom to screen"),
            (("bob",), 2, "needs to know whose party"),
            (("bob", "--tenant", "ten_" + "0" * 26), 4, "there is no tenant ten_000"),
            (("b\x1b[2Jb@example.com", "--tenant", tenant), 4, r"no party b\u001b[2Jb@example.com"),
            (("bob", "--tenant", "acme"), 4, "no tenant acme"),
        ):
            refused = holdfast("screen", *arguments)
            assert (refused.code, refused.out) == (code, ""), refused
            assert said in refused.err
            assert "report tenants" in refused.err
    names.write_text(f"tenant,party,name,reason\n{tenant},bob,,fraud in May\n", encoding="utf-8")
    blocked = holdfast("screen", "bob", "--tenant", tenant, HOLDFAST_BLOCKLIST=str(names))
    assert (blocked.code, blocked.out.startswith("bob: blocklist: KYC ")) == (0, True), blocked
    assert ", blocked; " in blocked.out
    assert "fraud" not in blocked.out + blocked.err
    assert running(holdfast.home) is None
    names.write_text("this is no list\n", encoding="utf-8")
    failed = holdfast("screen", "bob", "--tenant", tenant, HOLDFAST_BLOCKLIST=str(names))
    assert (failed.code, failed.out) == (1, ""), failed
    assert "Traceback" not in failed.err


def test_without_any_books_it_says_how_to_get_some(holdfast: CommandLine) -> None:
    """No stack is made for nobody."""
    ended = holdfast("screen", "bob", "--tenant", "ten_" + "0" * 26)
    assert (ended.code, ended.out) == (2, "")
    assert "There are no books in" in ended.err
    assert not holdfast.home.exists()
