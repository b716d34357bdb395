"""Every kind of fault once, under load. ``make chaos`` is the same for longer, by chance, on longer timeouts."""

import pytest

from chaos import plan
from chaos.meddling import MEDDLED
from chaos.points import POINTS
from chaos.run import run
from chaos.weather import VICTIMS

REPLAYED = {"EscrowWorkflow", "PayoutWorkflow", "ChargeWorkflow", "GatewayEventsWorkflow", "ReconcileWorkflow"}


@pytest.mark.timeout(170)
def test_edge_7_whatever_fails_and_wherever_each_key_has_one_effect_and_the_provider_and_the_ledger_agree() -> None:
    outcome = run(plan.quick())
    found = outcome.reckoning
    assert outcome.wrong == [], f"logs and data are in {outcome.kept}"
    assert (found.double_payouts, found.lost_units) == (0, 0)
    assert outcome.struck == {*POINTS, *VICTIMS, *MEDDLED} - {"temporal-data"}
    assert outcome.injected.total() > 5
    assert outcome.seen.commands["approve"]["ok"] > 2
    assert found.payouts > 2
    assert found.replayed.kinds.keys() >= REPLAYED
    assert outcome.seen.twice > 2
