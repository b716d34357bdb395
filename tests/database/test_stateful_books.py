"""Random command sequences over several escrows and parties, against an independent model of the books.

``make soak`` plays on with new seeds for as long as one likes.
"""

import sys
from typing import Final

import pytest

from models.decide import ROWS
from tests.database.books_machine import Tally
from tests.database.books_soak import play
from tests.servers import Servers

# Always the same seeds, so that a failure here comes from the change under test; ``make soak`` tries new ones. What is
# rare may not be among the first stories (what a seed draws depends on what else is loaded): then some more are played.
SEED: Final = 20260615
STORIES: Final = 32
MOST_STORIES: Final = 128
LEAST_STEPS: Final = 2000


@pytest.mark.timeout(400)  # about a minute where nothing else runs
def test_the_books_agree_with_an_independent_model_over_thousands_of_random_steps(servers: Servers) -> None:
    """Whatever several parties try in any order, every balance, counter and payout is what the domain page says."""
    tally, played = Tally(), 0
    try:
        while played < STORIES or (one_sided(tally) and played < MOST_STORIES):
            play(servers.engine, SEED + played, tally)
            played += 1
    finally:
        sys.stdout.write(f"{tally.story()}\n{tally.table()}\n")
    assert tally.steps >= LEAST_STEPS
    assert not one_sided(tally), "the stories have become too narrow"


def one_sided(tally: Tally) -> set[str]:
    """The commands that were never accepted or, but for deadlines, never refused."""
    answers = {name: {code for one, code in tally.answers if one == name} for name in ROWS}
    never_accepted = {name for name in ROWS if "accepted" not in answers[name]}
    never_refused = {name for name in ROWS if not answers[name] - {"accepted"}} - {"reach_deadline"}
    return never_accepted | never_refused
