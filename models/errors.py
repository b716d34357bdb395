"""Every refusal by name: its HTTP status, and whether the same request may succeed later without being changed."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class _Kind:
    code: str
    status: int
    retry_may_help: bool


class ErrorCode(Enum):
    """The codes that callers may rely on."""

    INVALID_COMMAND = _Kind("invalid_command", 422, False)
    INVALID_TRANSITION = _Kind("invalid_transition", 409, False)
    CONFLICT = _Kind("conflict", 409, False)
    FORBIDDEN = _Kind("forbidden", 403, False)
    NOT_FOUND = _Kind("not_found", 404, False)
    ALREADY_EXISTS = _Kind("already_exists", 409, False)
    IDEMPOTENCY_KEY_REUSED = _Kind("idempotency_key_reused", 422, False)
    PAYMENT_REQUIRED = _Kind("payment_required", 402, True)
    PAYMENT_DECLINED = _Kind("payment_declined", 402, True)
    REFUND_AMOUNT_MISMATCH = _Kind("refund_amount_mismatch", 422, False)
    FEE_POLICY_NOT_FOUND = _Kind("fee_policy_not_found", 422, True)
    EXCHANGE_RATE_UNAVAILABLE = _Kind("exchange_rate_unavailable", 422, True)
    MILESTONE_LIMIT = _Kind("milestone_limit", 422, False)
    PAYOUT_HELD = _Kind("payout_held", 422, True)
    CHARGEBACK_OPEN = _Kind("chargeback_open", 409, True)
    PARTY_BLOCKED = _Kind("party_blocked", 422, True)
    KYC_REQUIRED = _Kind("kyc_required", 422, True)
    EVIDENCE_REQUIRED = _Kind("evidence_required", 422, False)
    UNSEALED_COMMAND = _Kind("unsealed_command", 403, False)
    INTERNAL_ERROR = _Kind("internal_error", 500, False)

    @property
    def code(self) -> str:
        """The stable name, as callers see it."""
        return self.value.code

    @property
    def status(self) -> int:
        """The HTTP status the API answers with."""
        return self.value.status

    @property
    def retry_may_help(self) -> bool:
        """Whether the same request may succeed once something else has changed (a policy, a top-up)."""
        return self.value.retry_may_help


class Refusal(BaseModel):
    """A definite no, with everything the caller needs to do better. Nothing moved."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> ErrorCode:
        """The enumerated error behind the code."""
        return next(kind for kind in ErrorCode if kind.code == self.code)


class RefusedError(Exception):
    """Raised inside the rules where returning a refusal through every caller would hide the rule."""

    def __init__(self, code: ErrorCode, message: str, **details: Any) -> None:
        super().__init__(message)
        self.refusal = Refusal(code=code.code, message=message, details=details)

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        """The exception for a refusal that was given elsewhere."""
        return cls(refusal.kind, refusal.message, **refusal.details)
