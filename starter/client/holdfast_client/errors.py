"""What goes wrong, as exceptions: one class per answer that a program acts upon.

Source: http-contract.md, "Errors"; RFC 9457.
"""

from collections.abc import Mapping
from typing import Any, Final


class HoldfastError(Exception):
    """A request that was not carried out as asked.

    ``status`` is the HTTP status, 0 where no answer came. ``code`` is stable, for programs; ``detail`` is for people;
    ``members`` are what the problem says besides. ``key`` is the Idempotency-Key it was sent under, to send it again.
    """

    def __init__(
        self, status: int, code: str, detail: str, members: Mapping[str, Any] | None = None, key: str | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.status, self.code, self.detail, self.key = status, code, detail, key
        self.members: Mapping[str, Any] = dict(members or {})

    @property
    def request_id(self) -> str | None:
        """What the service's log has it under."""
        return self.members.get("request_id")


class UnauthorizedError(HoldfastError):
    """401: no such key, or one that was revoked or expired."""


class PaymentRequiredError(HoldfastError):
    """402: code ``payment_required`` with what is missing, or ``payment_declined`` with the gateway's reason."""

    @property
    def required(self) -> int | None:
        """What is needed, in minor units of ``members["currency"]``."""
        return self.members.get("required")

    @property
    def available(self) -> int | None:
        """What is there, in minor units."""
        return self.members.get("available")

    @property
    def top_up_url(self) -> str | None:
        """Where to add money: the path of the wallet's top-ups."""
        return self.members.get("top_up_url")


class ForbiddenError(HoldfastError):
    """403: not for this key, or not for this party."""


class NotFoundError(HoldfastError):
    """404: there is no such thing, or it is not yours to see."""


class ConflictError(HoldfastError):
    """409: somebody was faster (``conflict``): read the escrow again, and decide again. Or there is one already
    (``already_exists``), or the payer's bank has to decide first (``chargeback_open``).
    """

    @property
    def current_version(self) -> int | None:
        """The escrow's version as it is now, with ``conflict``."""
        return self.members.get("current_version")


class InvalidTransitionError(HoldfastError):
    """409: not in this state."""

    @property
    def state(self) -> str | None:
        """The state that the escrow is in."""
        return self.members.get("state")

    @property
    def allowed(self) -> list[str]:
        """What is legal in it."""
        return list(self.members.get("allowed", ()))


class RefusedError(HoldfastError):
    """422: a field is wrong (``members["errors"]``), or the rules refuse it: ``code`` says which."""


class UnavailableError(HoldfastError):
    """Nobody could be asked until the time limit was over, or too many requests were made.

    It may be carried out all the same if an answer got lost: send it again under ``key``.
    """


class OutcomeUnknownError(HoldfastError):
    """202, or 409 ``idempotency_in_progress``, until the time limit was over: it may have been carried out.

    Send it again under ``key``, or ask later.
    """

    @property
    def status_url(self) -> str | None:
        """The path at which to ask what became of it."""
        return self.members.get("status_url")


_OF_CODE: Final[Mapping[str, type[HoldfastError]]] = {
    "invalid_transition": InvalidTransitionError,
    "idempotency_in_progress": OutcomeUnknownError,
}
_OF_STATUS: Final[Mapping[int, type[HoldfastError]]] = {
    0: UnavailableError, 202: OutcomeUnknownError, 401: UnauthorizedError, 402: PaymentRequiredError,
    403: ForbiddenError, 404: NotFoundError, 409: ConflictError, 422: RefusedError, 429: UnavailableError,
    502: UnavailableError, 503: UnavailableError, 504: UnavailableError,
}  # fmt: skip


def error_of(status: int, said: Mapping[str, Any], key: str | None) -> HoldfastError:
    """The exception for an answer; ``said`` is its problem document, or what came in place of one."""
    code, detail = str(said.get("code", f"http_{status}")), str(said.get("detail", "no problem document came"))
    kind = _OF_CODE.get(code) or _OF_STATUS.get(status, HoldfastError)
    members = {name: value for name, value in said.items() if name not in {"status", "code", "detail"}}
    return kind(status, code, detail, members, key)
