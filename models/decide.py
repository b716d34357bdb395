"""The heart: what must happen when a command meets an escrow. It performs nothing.

``TABLE`` governs every command: who may send it, which event of the state machine it is, what has to hold on the
snapshot alone, and the rule that decides. A new command is one row here, one record in ``models.commands``, one rule.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models import commands
from models.commands import Command
from models.deadlines import due
from models.decision import Case, Decision
from models.errors import ErrorCode, Refusal, RefusedError
from models.escrow import Escrow
from models.facts import Funds
from models.policies import Policies
from models.rules import (
    admission,
    chargebacks,
    closing,
    creation,
    disputes,
    funding,
    milestones,
    payouts,
    reaching,
)
from models.states import Event

# A history carries payloads of 2 MB at most, and every answer has the whole escrow.
MAX_SNAPSHOT_BYTES: Final = 262_144

Check = Callable[[Escrow, Any], None]
Rule = Callable[[Case, Any], Decision]


@dataclass(frozen=True)
class Row:
    """How one command is governed. ``event`` is None for commands that do not move the state machine themselves.

    ``early`` is False where a cached snapshot may be too old to refuse on: payouts progress behind a workflow's back.
    """

    command: type[Command]
    roles: frozenset[str]
    event: Event | None
    rule: Rule
    check: Check = lambda _escrow, _command: None
    early: bool = True

    @property
    def name(self) -> str:
        """The command's name, which is also the name of its update and its signal."""
        return str(self.command.model_fields["name"].default)


def _who(*roles: str) -> frozenset[str]:
    return frozenset(roles)


_BUYER: Final = _who("buyer", "operator")
_SELLER: Final = _who("seller", "operator")
_EITHER: Final = _who("buyer", "seller", "operator")
_PARTIES: Final = _who("buyer", "seller", "operator", "platform")
_OPERATOR: Final = _who("operator")
_SYSTEM: Final = _who("system")
_PROVIDER: Final = _who("operator", "system")
_PAYEE: Final = _who("seller", "operator", "platform", "system")

TABLE: Final = (
    Row(commands.Create, _PARTIES, None, creation.create),
    Row(commands.Amend, _PARTIES, None, creation.amend, admission.check_amend),
    Row(commands.AddMilestone, _PARTIES, None, creation.add_milestone, admission.check_amend),
    Row(commands.ChangeMilestone, _PARTIES, None, creation.change_milestone, creation.check_change),
    Row(commands.Fund, _BUYER, Event.FUND, funding.fund, funding.check_fund),
    Row(commands.StartWork, _SELLER, Event.START_WORK, funding.start_work),
    Row(commands.SubmitMilestone, _SELLER, Event.SUBMIT_MILESTONE, milestones.submit, milestones.check_submit),
    Row(commands.WithdrawSubmission, _SELLER, None, milestones.withdraw, milestones.check_withdraw),
    Row(commands.ApproveMilestone, _BUYER, Event.APPROVE_MILESTONE, milestones.approve, milestones.check_review),
    Row(commands.RejectMilestone, _BUYER, Event.REJECT_MILESTONE, milestones.reject, milestones.check_review),
    Row(commands.ReverseMilestone, _SELLER, None, milestones.reverse, milestones.check_reverse),
    Row(commands.Complete, _BUYER, Event.COMPLETE, closing.complete),
    Row(commands.Cancel, _EITHER, Event.CANCEL, closing.cancel, admission.check_cancel),
    Row(commands.Refund, _SELLER, Event.REFUND, closing.refund, closing.check_refund),
    Row(commands.RaiseDispute, _EITHER, Event.DISPUTE, disputes.raise_dispute, disputes.check_raise),
    Row(commands.AddEvidence, _EITHER, None, disputes.add_evidence, disputes.check_evidence),
    Row(commands.ReviewDispute, _OPERATOR, None, disputes.review, disputes.check_review),
    Row(commands.ResolveDispute, _OPERATOR, Event.RESOLVE_DISPUTE, disputes.resolve, disputes.check_resolve),
    Row(commands.CloseDispute, _OPERATOR, None, disputes.close, disputes.check_close),
    Row(commands.RequestPayout, _PAYEE, None, payouts.request, payouts.check_request, early=False),
    Row(commands.RetryPayout, _SELLER, None, payouts.retry, payouts.check_retry, early=False),
    Row(commands.OpenChargeback, _PROVIDER, None, chargebacks.open_chargeback, chargebacks.check_open),
    Row(commands.CloseChargeback, _PROVIDER, None, chargebacks.close_chargeback, chargebacks.check_close),
    Row(commands.ReachDeadline, _SYSTEM, None, reaching.reach_deadline, reaching.check_deadline),
    Row(commands.SendPayout, _SYSTEM, None, payouts.send, payouts.check_send),
    Row(commands.RecordPayout, _SYSTEM, None, payouts.record, payouts.check_record),
)

ROWS: Final = {row.name: row for row in TABLE}
PLATFORM_COMMANDS: Final = tuple(row for row in TABLE if row.roles != _SYSTEM)


def decide(
    escrow: Escrow, command: Command, policies: Policies, now: datetime, funds: Funds | None = None
) -> Decision | Refusal:
    """Answer everything that must happen for a command at ``now`` (the tenant's time), or why it may not.

    ``escrow`` is the snapshot under lock (for ``create`` the blank one), ``funds`` what is known of money outside it.
    """
    row = ROWS[command.name]
    try:
        admission.refuse_actor(escrow, command.actor, command, row.roles)
        admission.refuse_version(escrow, command.expected_version)
        _refuse(escrow, command, row)
        decision = row.rule(Case(escrow, command, policies, now, funds or Funds()), command)
        if isinstance(command, commands.SubmitMilestone | commands.RaiseDispute | commands.AddEvidence):
            _refuse_bulk(decision.escrow)
        return decision
    except RefusedError as error:
        return error.refusal


def refuse_early(escrow: Escrow, command: Command, at: datetime) -> Refusal | None:
    """Refuse on a cached snapshot what ``decide`` is bound to refuse, without policies or funds.

    ``at`` is the tenant's time. The cache can lag behind the ledger by a payout's progress, and deadlines that are due
    take effect before the command does; what may depend on either is left to the transaction.
    """
    newer = command.expected_version is not None and command.expected_version > escrow.version
    row = ROWS[command.name]
    try:
        admission.refuse_actor(escrow, command.actor, command, row.roles)
        if newer or not row.early or due(escrow, at):
            return None
        admission.refuse_version(escrow, command.expected_version)
        _refuse(escrow, command, row)
    except RefusedError as error:
        return error.refusal
    return None


def _refuse(escrow: Escrow, command: Command, row: Row) -> None:
    admission.refuse_event(escrow, row.event)
    row.check(escrow, command)


def _refuse_bulk(escrow: Escrow) -> None:
    """Texts and evidence stay far below what a workflow's history can carry, so that a way out always fits in."""
    size = len(escrow.model_dump_json().encode())
    if size > MAX_SNAPSHOT_BYTES:
        raise RefusedError(
            ErrorCode.INVALID_COMMAND,
            f"the escrow's texts and evidence would be {size} bytes, at most {MAX_SNAPSHOT_BYTES} are kept: "
            "be brief and point to the evidence by url",
        )
