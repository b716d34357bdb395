"""What the OpenAPI document says beyond what types tell: every error code, the form of ids, headers, statuses."""

from typing import Any, Final

from models.currencies import EXPONENTS
from models.errors import ErrorCode
from models.policies import POLICY_KINDS

Schema = dict[str, Any]

PARTY: Final = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
_CROCKFORD: Final = "[0-9a-hjkmnp-tv-z]{26}"
_SAMPLE: Final = "01jd3v6k9q4m8n2p5r7s0t1w3x"


def identifier(prefix: str) -> Schema:
    """The form of an id."""
    return {"type": "string", "pattern": f"^{prefix}_{_CROCKFORD}$", "examples": [f"{prefix}_{_SAMPLE}"]}


# The statuses and meanings of codes that are not the rules' own.
API_CODES: Final[dict[str, tuple[int, str]]] = {
    "malformed": (400, "A header or the JSON cannot be read."),
    "idempotency_key_required": (400, "What changes something needs the header Idempotency-Key."),
    "invalid_signature": (400, "The signature is not the payment provider's, or too old. Nothing was stored."),
    "unauthorized": (401, "No credentials, or none that are accepted."),
    "method_not_allowed": (405, "The path exists and does not take this method; `Allow` names those that it takes."),
    "timeout": (408, "The body did not arrive within 20 seconds."),
    "idempotency_in_progress": (409, "The first request with this Idempotency-Key is still being carried out."),
    "forgotten": (410, "The party was forgotten after this request was answered, and its answer with it."),
    "too_large": (413, "The body is larger than 256 KiB."),
    "unsupported_media_type": (415, "The body is not JSON by its Content-Type."),
    "invalid_request": (422, "Fields are wrong: `errors` has `at` and `problem` of each."),
    "url_not_allowed": (422, "No webhook is sent to that address."),
    "rate_limited": (429, "Too many requests: wait for `Retry-After` seconds."),
    "unavailable": (503, "The orchestrator or the database is away; nothing is half done: send it again."),
}
_MEANINGS: Final[dict[ErrorCode, str]] = {
    ErrorCode.INVALID_COMMAND: "The command contradicts itself or what it is about.",
    ErrorCode.INVALID_TRANSITION: "Not possible in this state: `state`, `event`, and `allowed` now.",
    ErrorCode.CONFLICT: "Based on another version than the `current_version`. Nothing moved.",
    ErrorCode.FORBIDDEN: "Not for this key, or not for this party.",
    ErrorCode.NOT_FOUND: "There is no such thing, or it is not yours to see.",
    ErrorCode.ALREADY_EXISTS: "There is one already.",
    ErrorCode.IDEMPOTENCY_KEY_REUSED: "The Idempotency-Key was used for a different request.",
    ErrorCode.PAYMENT_REQUIRED: "The wallet has too little: `required`, `available`, `reserve`, `currency`, "
    "`top_up_url`.",
    ErrorCode.PAYMENT_DECLINED: "The charge was declined: `reason`; for a top-up the `charge`.",
    ErrorCode.REFUND_AMOUNT_MISMATCH: "The amount is not what is refundable.",
    ErrorCode.FEE_POLICY_NOT_FOUND: "No fee policy has a rule for this; write one.",
    ErrorCode.EXCHANGE_RATE_UNAVAILABLE: "There is no rate into the reporting currency, or it is too old; tell one.",
    ErrorCode.MILESTONE_LIMIT: "More milestones than the release policy allows.",
    ErrorCode.PAYOUT_HELD: "The payout has to wait.",
    ErrorCode.CHARGEBACK_OPEN: "A chargeback has to end first.",
    ErrorCode.PARTY_BLOCKED: "The party's money is frozen.",
    ErrorCode.KYC_REQUIRED: "The party has to be verified first.",
    ErrorCode.EVIDENCE_REQUIRED: "The release policy wants evidence with every submission.",
    ErrorCode.UNSEALED_COMMAND: "The command was not sent by a program of ours.",
    ErrorCode.INTERNAL_ERROR: "A mistake of ours. It tells nothing about itself; our log has it under `request_id`.",
}
CODES: Final[dict[str, tuple[int, str]]] = dict(
    sorted((API_CODES | {kind.code: (kind.status, said) for kind, said in _MEANINGS.items()}).items())
)

STATUSES: Final[dict[str, str]] = {
    "400": "Malformed",
    "401": "Unauthorized",
    "402": "PaymentRequired",
    "403": "Forbidden",
    "404": "NotFound",
    "408": "Timeout",
    "409": "Conflict",
    "410": "Gone",
    "413": "TooLarge",
    "415": "UnsupportedMediaType",
    "422": "Unprocessable",
    "429": "TooManyRequests",
    "500": "InternalError",
    "503": "Unavailable",
}

HEADERS: Final[dict[str, Schema]] = {
    "X-Request-Id": {
        "description": "The request's id, as logs have it: the one that was sent, if it was one, or a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,100}$"},
    },
    "ETag": {
        "description": "The escrow's version, for `If-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[1-9][0-9]*"$'},
    },
    "Location": {
        "description": "Where it is found, or asked about.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Retry-After": {
        "description": "After how many seconds to ask again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Idempotent-Replayed": {
        "description": "`true`: the answer that this Idempotency-Key was given before.",
        "schema": {"type": "string", "const": "true"},
    },
    "WWW-Authenticate": {
        "description": "What credentials are wanted.",
        "required": True,
        "schema": {"type": "string"},
    },
}

PATHS: Final[dict[str, Schema]] = {
    "escrow": identifier("esc"),
    "milestone": identifier("mil"),
    "dispute": identifier("dsp"),
    "payout": identifier("pay"),
    "event": identifier("evt"),
    "endpoint": identifier("whk"),
    "charge": identifier("chg"),
    "key": identifier("key"),
    "party": {"type": "string", "pattern": PARTY, "examples": ["alice"]},
    "kind": {"type": "string", "enum": sorted(POLICY_KINDS)},
    "command": {"type": "string", "pattern": "^[\\x21-\\x7d][\\x21-\\x7e]{0,254}$", "examples": ["order-17-approve-1"]},
    "name": {"type": "string", "const": "stripe"},
}

CURRENCY: Final[Schema] = {
    "type": "string",
    "enum": sorted(EXPONENTS),
    "description": "ISO 4217. Its decimals say what a minor unit is: EUR 2, JPY 0, KWD 3.",
    "examples": ["EUR"],
}
CURRENCIES: Final = frozenset({"currency", "reporting_currency"})
PARTIES: Final = frozenset({"party", "buyer", "seller"})
# Fields of answers that are ids, by their name; `id` itself by the name of its schema.
NAMED: Final[dict[str, str]] = {
    "escrow": "esc", "escrow_id": "esc", "project_id": "esc", "milestone": "mil", "milestones": "mil",
    "dispute": "dsp", "settlement": "set", "endpoint": "whk", "tenant_id": "ten",
}  # fmt: skip
IDS: Final[dict[str, str]] = {
    "EscrowView": "esc", "MilestoneView": "mil", "ProjectMilestone": "mil", "DisputeView": "dsp", "PayoutView": "pay",
    "SettlementView": "set", "TransactionView": "txn", "AuditView": "aud", "EventView": "evt", "ChargeView": "chg",
    "KeyView": "key", "NewKeyView": "key", "JwtKeyView": "jwk", "EndpointView": "whk", "NewSecretView": "whk",
    "DeliveryView": "whd", "TenantMade": "ten", "TenantView": "ten",
    "Chargeback": "cbk", "Deadline": "dln",
}  # fmt: skip
