"""What became of a deal that was played, for scripts: the same as the report for people. docs/cli.md shows it."""

import json
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from starter.deals.play import Played, Step
from starter.deals.report import Books, verdict


def report_json(played: Played, books: Books) -> str:
    """One object, all of it ASCII; amounts in minor units, times in RFC 3339."""
    document = {
        "run": played.run.id,
        "file": played.run.file,
        "title": played.deal.title,
        "tenant": played.run.tenant,
        "escrow": played.escrow.model_dump(mode="json") if played.escrow else None,
        "steps": [_step(step) for step in played.steps],
        "settlements": [dict(row) for row in books.settlements],
        "statements": {owner: [asdict(line) for line in lines] for owner, lines in books.statements.items()},
        "trial_balance": [asdict(line) | {"balance": line.balance} for line in books.trial_balance],
        "balanced": not any(books.differences.values()),
        "problems": verdict(played, books),
    }
    return json.dumps(document, indent=2, default=_plain) + "\n"


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "actor": str(step.action.actor) if step.action.actor else None,
        "does": step.action.do,
        "command": step.id,
        "refusal": step.refusal.model_dump(mode="json") if step.refusal else None,
        "state": step.escrow.state if step.escrow else None,
        "version": step.escrow.version if step.escrow else None,
    }


def _plain(value: Any) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no JSON")
