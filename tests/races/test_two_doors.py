"""Conflicting requests at the same instant, through two APIs and two pairs of workers, on one set of books.

Source: edge_cases.md, 1, 2, 4 and 7. ``make races`` plays many more rounds.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.races.over_http import ROUNDS, Ring, ring
from tests.servers import Servers


@pytest.fixture(scope="module")
def two_doors(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """Two APIs, two pairs of workers, one tenant."""
    with ring(servers, tmp_path_factory.mktemp("doors") / "api.log", seed=5) as running:
        yield running


@pytest.mark.parametrize("play", ROUNDS, ids=[one.__name__ for one in ROUNDS])
def test_edge_07_each_conflict_is_answered_as_such_at_both_doors(two_doors: Ring, play: Callable[[Ring], None]) -> None:
    """A success, or a problem that names the conflict; never anything else."""
    play(two_doors)
