"""What each of Stripe's errors says about the money. The rule: only Stripe's own definite words are definite.

Sources: docs.stripe.com/api/errors (types and HTTP statuses), docs.stripe.com/error-low-level (what is replayed),
docs.stripe.com/error-codes. No text of Stripe's is passed on: its messages name accounts and parts of keys. The request
id is, since with it an operator finds everything in Stripe's dashboard.
"""

import re
from datetime import timedelta
from typing import Any, Final

import stripe

from activities.gateways.port import Declined, GatewayMisconfiguredError, IdempotencyMismatchError, Unknown

_CODE = re.compile(r"[a-z0-9_]{1,64}")
_REQUEST_ID = re.compile(r"req_[A-Za-z0-9_]{1,64}")
_SECONDS = re.compile(r"[0-9]{1,6}")
_LONGEST_WAIT: Final = timedelta(minutes=5)
# docs.stripe.com/error-codes: the request was refused because of who we are, not because of the operation.
_OPERATORS_CODES: Final = frozenset(
    {
        "api_key_expired",
        "livemode_mismatch",
        "platform_account_required",
        "platform_api_key_expired",
        "secret_key_required",
        "testmode_charges_only",
        "tls_version_unsupported",
    }
)


def outcome_of(error: stripe.StripeError) -> Declined | Unknown:
    """Say what an error means for the money.

    Raises ``GatewayMisconfiguredError`` or ``IdempotencyMismatchError`` where it says nothing about this operation.
    """
    match error:
        # 402 "The parameters were valid but the request failed": the card was refused, the intent took no money.
        case stripe.CardError():
            return _declined(error)
        # 400 idempotency_error: "Keys … can only be used with the same parameters they were first used with".
        case stripe.IdempotencyError():
            raise IdempotencyMismatchError(f"Stripe knows this key with other parameters ({_request(error)})") from None
        # 401 "No valid API key provided", 403 "The API key doesn't have permissions". An earlier attempt may have
        # worked before the key was revoked, so this is never a decline.
        case stripe.AuthenticationError() | stripe.PermissionError():
            raise _misconfigured(error) from None
        # 400 and 404, "often due to missing a required parameter": refused as a whole, nothing was done. That includes
        # balance_insufficient and a destination that is closed or unknown.
        case stripe.InvalidRequestError():
            return _invalid_request(error)
        # 429: limiters run before the idempotency layer, but a lock timeout is a 429 too, so nothing is concluded.
        case stripe.RateLimitError():
            return _unknown("rate_limited", error)
        # 409: another request with this key is running right now. 5xx: "treat as indeterminate"; a stored 500 is
        # replayed under its key. A status with a body that is not Stripe's: some proxy spoke, not Stripe.
        case stripe.APIError():
            return _unknown(f"http_{error.http_status}" if error.http_status else "unreadable_answer", error)
        # Timeouts and broken connections: the request may or may not have arrived.
        case stripe.APIConnectionError():
            return _unknown("no_answer", error)
        case _:
            return _unknown("unexpected_error", error)


def word(code: object, otherwise: str) -> str:
    """Return the provider's code when it looks like one of its enumerated words, else ``otherwise``."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) else otherwise


def _invalid_request(error: stripe.InvalidRequestError) -> Declined:
    # A 404 without a code is "Unrecognized request URL": a wrong address, not a wrong request.
    if error.code in _OPERATORS_CODES or (error.http_status == 404 and error.code is None):
        raise _misconfigured(error) from None
    return _declined(error)


def _declined(error: stripe.StripeError) -> Declined:
    # decline_code is the issuer's reason (insufficient_funds), code only Stripe's class of it (card_declined).
    code = word(_said(error, "decline_code"), word(error.code, "invalid_request"))
    intent = _said(error, "payment_intent")
    reference = intent.get("id") if isinstance(intent, dict) else None
    return Declined(code, f"Stripe refused: {code} ({_request(error)})", reference)


def _unknown(reason: str, error: stripe.StripeError) -> Unknown:
    return Unknown(f"{reason} ({_request(error)})", retry_after=_retry_after(error))


def _retry_after(error: stripe.StripeError) -> timedelta | None:
    """For how long Stripe asks not to be asked again: whole seconds; the date that HTTP knows too is not used by it."""
    headers = {str(name).lower(): value for name, value in (error.headers or {}).items()}
    said = headers.get("retry-after")
    if not isinstance(said, str) or not _SECONDS.fullmatch(said):
        return None
    return min(timedelta(seconds=int(said)), _LONGEST_WAIT) or None  # none at all would be asked again without a pause


def _misconfigured(error: stripe.StripeError) -> GatewayMisconfiguredError:
    reason = word(error.code, f"http_{error.http_status}")
    return GatewayMisconfiguredError(f"Stripe does not accept our requests: {reason} ({_request(error)})")


def _request(error: stripe.StripeError) -> str:
    request_id = error.request_id or ""
    return request_id if _REQUEST_ID.fullmatch(request_id) else "no request id"


def _said(error: stripe.StripeError, field: str) -> Any:
    # Read from the JSON itself: the library's error object raises for fields that Stripe left out.
    body = error.json_body
    said = body.get("error") if isinstance(body, dict) else None
    return said.get(field) if isinstance(said, dict) else None
