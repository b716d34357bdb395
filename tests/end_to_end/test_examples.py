"""The examples print what is committed: every amount, every state, every day."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from starter.embedded.home import running
from tests.end_to_end.command_line import EXAMPLES, Books, CommandLine, squeezed
from tests.end_to_end.record_examples import EXPECTED, NAMES, lasting, play, recorded

# What else a marketplace may say and do in a file, for which no example is long enough.
CHANGES: Final = """\
title: Three rooms
tenant: {name: Painters}
parties:
  ann: {name: Ann Low, email: ann@example.com, language: en}
  ben: {payout_destination: acct_ben}
templates:
  - name: rooms
    milestones:
      - {title: First coat, title_th: สีชั้นแรก, percent: 33.3, days: -7}
      - {title: Second coat, percent: 66.7, days: 0}
policies:
  fees: {rules: [{outcome: release, rate: 0}]}
  release: {payout: {trigger: manual}}
escrow:
  buyer: ann
  seller: ben
  amount: 1000
  currency: EUR
  template: rooms
  event_date: 2026-06-15
actions:
  - {actor: ann, do: fund, source: gateway, payment_method: pm_card_visa}
  - {actor: ben, do: start_work}
  - {actor: ben, do: submit_milestone, milestone: First coat}
  - {do: block_party, party: ben, because: A name on a list.}
  - {actor: ann, do: approve_milestone, milestone: 1, expect: {refused: party_blocked}}
  - {do: block_party, party: ben, because: null}
  - {actor: ann, do: approve_milestone, milestone: สีชั้นแรก}
  - {do: change_party, party: ben, payout_destination: acct_ben_new}
"""


@pytest.fixture(scope="module")
def holdfast() -> Iterator[CommandLine]:
    """One stack for all of them, as a reader would have it who plays them one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        command_line = CommandLine(Path(directory))
        with command_line.up():
            yield command_line


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_what_is_committed(holdfast: CommandLine, name: str) -> None:
    """To the cent and to the day; if that was meant to change: ``python -m tests.end_to_end.record_examples``."""
    ended = play(holdfast, EXAMPLES / f"{name}.yaml")
    assert ended.code == 0, ended
    assert lasting(ended.out) == recorded(name).read_text()


def test_every_recorded_table_is_an_example_s() -> None:
    """What is committed belongs to a file that is still there."""
    assert {file.stem for file in EXPECTED.iterdir()} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("tiers", "{from: 500, rate: 0.10}", "{from: 500.01, rate: 0.10}"),
        ("clearance", "clearance: P7D}", "clearance: P6D}"),
    ],
)
def test_one_cent_or_one_day_is_noticed(
    holdfast: CommandLine, tmp_path: Path, name: str, right: str, wrong: str
) -> None:
    """What is left out of the comparison hides no amount and no time."""
    text = (EXAMPLES / f"{name}.yaml").read_text()
    assert right in text
    changed = tmp_path / "changed.yaml"
    changed.write_text(text.replace(right, wrong))
    ended = play(holdfast, changed)
    assert ended.code == 0, ended
    assert lasting(ended.out) != recorded(name).read_text()


@pytest.mark.parametrize("name", ["tiers", "clearance", "foreign-currency"])
def test_what_changed_in_mid_story_is_not_written_again(holdfast: CommandLine, name: str) -> None:
    """Playing such a run again changes no row: a policy's first version does not come back as a third."""
    endpoints = running(holdfast.home)
    assert endpoints is not None
    books, example = Books(endpoints), EXAMPLES / f"{name}.yaml"
    first, run = play(holdfast, example), holdfast.runs()[0]
    before = books.at_rest()
    again = holdfast("run", example, "--run-id", run.id, COLUMNS="120")
    assert (again.code, again.out) == (0, first.out)
    assert books.at_rest() == before


def test_the_marketplace_can_change_its_parties_in_mid_story(holdfast: CommandLine, tmp_path: Path) -> None:
    """A template of its own, a party that is blocked and let go, a payout that waits for somebody: no failure."""
    file = tmp_path / "changes.yaml"
    file.write_text(CHANGES)
    ended = play(holdfast, file)
    assert ended.code == 0, ended
    report = squeezed(ended.out)
    assert "1 First coat สีชั้นแรก 2026-06-08 333.00 approved" in report
    assert "5 platform block_party ben" in report
    assert "7 platform unblock_party ben" in report
    assert any(line.startswith("6 ann approve_milestone 1 refused: party_blocked the seller is bl") for line in report)
    assert "ben 333.00 held (manual) waits until somebody asks for it" in report
