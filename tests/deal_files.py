"""A deal file that is right, to be changed by tests, and what a person is told who changed it wrongly."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from starter.deals.deal import load
from starter.deals.deal_text import DealFileError

GOOD: Final = """\
title: A logo
tenant: {name: Studio}
parties:
  alice:
  bob: {payout_destination: acct_bob}
operators: [olga]
escrow:
  buyer: alice
  seller: bob
  amount: 1500.10
  currency: EUR
  milestones:
    - {title: Sketches, amount: 500.10}
    - {title: Final, amount: 1000}
actions:
  - {actor: alice, do: top_up, amount: 1500.10}
  - {actor: bob, do: submit_milestone, milestone: 2}
"""
LAST: Final = "  - {actor: bob, do: submit_milestone, milestone: 2}\n"

Write: TypeAlias = Callable[[str], Path]


def deal_file(text: str) -> Path:
    """Write a deal file in the current directory, so that messages name it by a short path."""
    file = Path("deal.yaml")
    file.write_text(text, encoding="utf-8")
    return file


def message(file: Path) -> str:
    """What is wrong with a file, one line per problem."""
    with pytest.raises(DealFileError) as raised:
        load(file)
    return str(raised.value)
