"""Conflicting commands from sixteen connections at the same instant, straight at the books' one transaction.

``make races`` plays thousands of rounds with new seeds. Source: edge_cases.md, "Racing and repeating".
"""

import sys
from collections.abc import Iterator
from typing import Final

import pytest
from sqlalchemy import Engine

from tests.database.books_machine import Tally
from tests.races.arena import play, without_deadlocks
from tests.servers import Servers

SEED: Final = "20261121"
ROUNDS: Final = 90
CONFLICTS: Final = {"conflict", "invalid_transition", "idempotency_key_reused", "payment_required", "already_exists",
                    "chargeback_open", "refund_amount_mismatch"}  # fmt: skip


@pytest.fixture(scope="module")
def racing(servers: Servers) -> Iterator[Engine]:
    """A pool of its own, and not one deadlock when the races are over."""
    with without_deadlocks(servers) as engine:
        yield engine


def test_of_commands_that_exclude_each_other_the_model_allows_what_the_books_allowed(racing: Engine) -> None:
    """Each answer of hundreds of races is the model's for some order of the commands, and so is every balance."""
    tally = Tally()
    try:
        play(racing, SEED, ROUNDS, tally)
    finally:
        sys.stdout.write(f"{tally.table()}\n")
    refused = {code for _, code in tally.answers if code != "accepted"}
    assert refused >= CONFLICTS, f"the races have become too tame: never {CONFLICTS - refused}"
