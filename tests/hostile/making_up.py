"""Making things up with hypothesis: the same few every time, or new ones for HOSTILE_MINUTES."""

import os
from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

MINUTES: Final = float(os.environ.get("HOSTILE_MINUTES") or 0)
_SEED: Final = int(time()) if MINUTES else 5


def beyond(things: SearchStrategy[Any], try_one: Callable[[Any], None], examples: int) -> None:
    """Try so many things, or as many as there is time for. What fails is shortened and told."""
    end, number = monotonic() + 60 * MINUTES, _SEED
    budget = settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    def anything(thing: Any) -> None:
        try_one(thing)

    while True:
        seed(number)(budget(given(things)(anything)))()
        number += 1
        if monotonic() >= end:
            return
