"""A body for every operation that takes one, by the name of its schema. The tests send each of them."""

from typing import Any, Final

_KEY: Final = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"  # RFC 8032, 7.1, test 1
    "-----END PUBLIC KEY-----\n"
)
_EVIDENCE: Final = [
    {
        "name": "design.pdf",
        "url": "https://files.example.com/design.pdf",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "note": "The mock-ups of all pages.",
    }
]

BODIES: Final[dict[str, Any]] = {
    "Amendment": {"title": "Website redesign, with a shop"},
    "Funding": {"source": "wallet"},
    "Reason": {"reason": "As agreed on the phone."},
    "Refunding": {"reason": "The order was a mistake.", "amount": 500000},
    "MilestoneDraft": {"title": "Training", "amount": 50000, "due": "2026-12-20"},
    "MilestoneChange": {"title": "Design, mockups and a style guide", "amount": 160000},
    "Submission": {"evidence": _EVIDENCE},
    "Rejection": {"reason": "The contact page is missing."},
    "Reversal": {"amount": 20000, "reason": "One page was left out."},
    "NewDispute": {
        "reason": "Not as described",
        "description": "The shop cannot take orders in Euro.",
        "evidence": _EVIDENCE,
    },
    "MoreEvidence": {"statement": "Euro was never part of the agreement.", "evidence": _EVIDENCE},
    "Resolution": {"resolution": "split", "details": "Half of the work can be used.", "seller_share": "0.50"},
    "Because": {"because": "The payment method was reported as stolen."},
    "FeePolicy": {
        "pin_at": "release",
        "rules": [
            {"outcome": "release", "category": "*", "rate": "0.10", "payer": "seller"},
            {
                "outcome": "release",
                "category": "design",
                "tiers": {
                    "mode": "graduated",
                    "basis": "deal_amount",
                    "bands": [{"from": 0, "rate": "0.20"}, {"from": 50000, "rate": "0.10"}],
                },
            },
            {"outcome": "refund", "category": "*", "rate": "0"},
            {"outcome": "split", "category": "*", "rate": "0.10"},
            {"outcome": "reversal", "category": "*", "rate": "0"},
        ],
        "dispute_fee": {"amount": 1500, "payer": "loser"},
    },
    "ReleasePolicy": {
        "mode": "auto",
        "review_window": "P14D",
        "reminders": ["P11D"],
        "evidence_required": False,
        "payout": {"trigger": "time", "clearance": "P2D", "minimum": 1000},
        "max_milestones": 10,
    },
    "DisputePolicy": {"response_window": "P7D", "default_outcome": "mediation"},
    "SpendPolicy": {"reserve": {"EUR": 1000}, "wallet_gate": True},
    "CompliancePolicy": {"verified_above": {"funding": 1000000, "payout": 500000}},
    "Template": {
        "name": "halves",
        "milestones": [
            {"title": "Before the event", "percent": "50", "days": -30},
            {"title": "After the event", "percent": "50", "days": 1},
        ],
    },
    "Question": {"outcome": "release", "category": "web", "amount": 150000, "currency": "EUR", "seller": "bob"},
    "Retry": {"destination": "acct_bob"},
    "Rotation": {"grace": "P1D"},
    "JwtKeyRequest": {"name": "web shop", "public_key": _KEY},
    "EndpointChange": {"events": ["payout.*"], "description": "payouts only"},
    "SecretRotation": {"overlap": "P1D"},
    "Redelivery": {"endpoint": "whk_01jd3v6k9q4m8n2p5r7s0t1w3x"},
    "WalletTopUp": {"amount": 500000, "currency": "EUR", "payment_method": "pm_card_visa", "party": "alice"},
}
