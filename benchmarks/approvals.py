"""How long an approval takes over HTTP: the load of ``make chaos`` without its faults."""

import statistics

from benchmarks.figures import Figure
from chaos import plan
from chaos.run import run
from chaos.table import percentile


def measure(seconds: float, clients: int) -> list[Figure]:
    """From the request until its money is released, while others trade too; on a stack of its own."""
    outcome = run(plan.calm(seconds, clients))
    if outcome.wrong:
        raise RuntimeError(f"the figures of a broken run mean nothing: {outcome.wrong[:3]}; see {outcome.kept}")
    taken = [one * 1000 for one in outcome.seen.approvals]
    what = f"approve to released over HTTP, {clients} clients on 2 APIs and 2 workers"
    return [
        Figure(f"{what}, median", statistics.median(taken), "ms"),
        Figure(f"{what}, 99th percentile", percentile(taken, 0.99), "ms"),
        Figure(f"{what}, commands", outcome.seen.keys / outcome.seconds, "1/s"),
    ]
