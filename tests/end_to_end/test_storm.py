"""Two APIs and two workers under load, killed and restarted meanwhile. ``make storm`` is the same for longer."""

import pytest

from benchmarks import storm


@pytest.mark.timeout(240)
def test_edge_7_whatever_is_killed_each_key_has_one_effect_and_the_books_and_the_provider_agree() -> None:
    plan = storm.Plan(seconds=12, clients=6, kill_every=3, victims=("api1", "api2", "worker1", "worker2"), seed=7)
    outcome = storm.run(plan)
    assert outcome.wrong == []
    assert outcome.killed.total() >= 2
    assert outcome.seen.commands["approve"]["ok"] > 2
    assert outcome.seen.twice > 2
