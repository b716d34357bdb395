"""Misbehaviour on demand. A test queues faults; each request takes the first that matches it. Lost on restart.

The plan (``starter.sandbox.plan``) is the other way to ask for it: by chance, and safe from restarts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starter.sandbox.wire import Params, invalid

OPERATIONS: Final = ("charge", "refund", "transfer", "cancel", "look_up", "*")
FAULTS: Final = {
    "decline": "refuse for good, as Stripe would (``code`` chooses the reason); the key remembers it",
    "pending": "carry out, but leave a charge ``processing`` or a refund ``pending``",
    "requires_action": "leave a charge waiting for its customer",
    "delay": "wait ``seconds``, then go on as usual",
    "delay_after": "do and commit the work, then wait ``seconds`` before the answer",
    "error_before": "500, nothing done, the key remembers nothing",
    "error_after": "do and commit the work, then 500; the key remembers the 500",
    "error_stored": "500, nothing done, but the key remembers the 500",
    "drop_before": "close the connection without having read the request",
    "drop_reply_after": "do and commit the work, then close the connection without an answer",
    "reset_before": "reset the connection (RST) without having read the request",
    "reset_after": "do and commit the work, then reset the connection (RST) without an answer",
    "restart_before": "the sandbox kills itself with SIGKILL, nothing done",
    "restart_after": "do and commit the work, then the sandbox kills itself with SIGKILL",
    "rate_limit": "429, nothing done; ``retry_after`` is the header ``Retry-After``, in whole seconds",
    "answer": "nothing done; answer with ``status`` and ``body`` (an object, or text as it is)",
}
INSTEAD_OF_WORK: Final = ("error_before", "drop_before", "reset_before", "restart_before", "rate_limit", "answer")
"""Faults that keep a request from the books."""
WITHOUT_ANSWER: Final = (
    "drop_before",
    "reset_before",
    "restart_before",
    "drop_reply_after",
    "reset_after",
    "restart_after",
)
"""Faults after which the client hears nothing."""
WHATEVER_THE_ANSWER: Final = (*INSTEAD_OF_WORK, *WITHOUT_ANSWER, "delay", "delay_after")
"""Faults that a request meets even if its key remembers an answer already."""


@dataclass
class Fault:
    """One kind of misbehaviour, for the next ``times`` requests that match."""

    operation: str
    fault: str
    times: int = 1
    seconds: float = 0.0
    code: str | None = None
    status: int = 400
    body: Any = None
    retry_after: int | None = None
    match: dict[str, str] = field(default_factory=dict)
    """Dotted parameter names and their values, such as ``metadata.holdfast_key``; ``key`` is the idempotency key."""

    def fits(self, operation: str, key: str | None, params: Params) -> bool:
        """Whether this request is meant. ``*`` means every request that moves money, but no look-up."""
        if self.operation != operation and (self.operation != "*" or operation == "look_up"):
            return False
        return fitting(self.match, key, params)


class FaultQueue:
    """The faults to come. Used from the server's event loop only, so it needs no lock."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []

    def add(self, document: dict[str, Any]) -> None:
        """Queue a fault from its JSON. Raises ``RefusedError`` naming what is wrong."""
        try:
            fault = Fault(**document)
        except TypeError as error:
            raise invalid(str(error)) from None
        if fault.operation not in OPERATIONS:
            raise invalid(f"operation: one of {', '.join(OPERATIONS)}")
        if fault.fault not in FAULTS:
            raise invalid(f"fault: one of {', '.join(FAULTS)}")
        self._queue.append(fault)

    def clear(self) -> None:
        """Behave from now on."""
        self._queue.clear()

    def take(self, operation: str, key: str | None, params: Params) -> Fault | None:
        """Return the first fault that fits and count it down."""
        for fault in self._queue:
            if fault.fits(operation, key, params):
                fault.times -= 1
                if fault.times <= 0:
                    self._queue.remove(fault)
                return fault
        return None


def fitting(match: Mapping[str, str], key: str | None, params: Params) -> bool:
    """Whether a request has these values: dotted parameter names, and ``key`` for the idempotency key."""
    return all((key if name == "key" else _at(params, name)) == value for name, value in match.items())


def _at(params: Params, dotted: str) -> Any:
    place: Any = params
    for step in dotted.split("."):
        place = place.get(step) if isinstance(place, dict) else None
    return place
