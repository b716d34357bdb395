"""What happens at a provider without being asked: banks contest, return and fail. Each changes the books and is told.

Source: docs.stripe.com/disputes, docs.stripe.com/api/disputes/object, docs.stripe.com/api/transfer_reversals.
Operations are named by their key (``transfer_group``), disputes by their id.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from starter.sandbox.books import Books
from starter.sandbox.wire import Params, invalid, new_id

DECISIONS: Final = ("won", "lost", "warning_closed")


class Happenings:
    """Each method is one transaction of the books and answers the object that it changed.

    Raises ``RefusedError`` for what the books do not have, or for what cannot happen to it.
    """

    def __init__(self, books: Books) -> None:
        self._books = books

    def contest(
        self, *, key: str, amount: int | None = None, reason: str = "fraudulent", status: str = "needs_response"
    ) -> Params:
        """The payer's bank contests a payment, or a part of it; the money leaves at once, unless it only inquires."""
        with self._books.transaction():
            charge = self._latest("charge", key)
            if charge["status"] != "succeeded":
                raise invalid(f"the charge is {charge['status']}")
            dispute = {
                "id": new_id("du"),
                "object": "dispute",
                "amount": charge["amount"] if amount is None else amount,
                "charge": charge["id"],
                "created": int(time.time()),
                "currency": charge["currency"],
                "is_charge_refundable": False,
                "livemode": False,
                "metadata": {},
                "payment_intent": charge["payment_intent"],
                "reason": reason,
                "status": status,
            }
            if not status.startswith("warning_"):
                self._books.move("adjustment", -dispute["amount"], charge["currency"], dispute["id"])
            self._books.put(dispute)
            self._books.announce("charge.dispute.created", dispute)
            return dispute

    def decide(self, *, reference: str, status: str) -> Params:
        """The bank decides a dispute; won, the money comes back."""
        if status not in DECISIONS:
            raise invalid(f"status: one of {', '.join(DECISIONS)}")
        with self._books.transaction():
            dispute = self._books.get("dispute", reference)
            if dispute is None or dispute["status"] in DECISIONS:
                raise invalid(f"no such dispute that is open: {reference}")
            if status == "won":
                self._books.move("adjustment", dispute["amount"], dispute["currency"], reference)
            dispute["status"] = status
            self._books.put(dispute)
            self._books.announce("charge.dispute.closed", dispute)
            return dispute

    def reverse(self, *, key: str, amount: int | None = None) -> Params:
        """A transfer comes back, or a part of it: the account that it went to was closed, say."""
        with self._books.transaction():
            transfer = self._latest("transfer", key)
            left = transfer["amount"] - transfer["amount_reversed"]
            back = left if amount is None else amount
            if not 0 < back <= left:
                raise invalid(f"amount: at most {left} of the transfer can come back")
            transfer["amount_reversed"] += back
            transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
            self._books.move("transfer_refund", back, transfer["currency"], transfer["id"])
            self._books.put(transfer)
            self._books.announce("transfer.reversed", transfer)
            return transfer

    def collect(self, *, key: str) -> Params:
        """A bank debit that was processing has succeeded."""
        with self._books.transaction():
            charge = self._latest("charge", key)
            if charge["status"] != "pending":
                raise invalid(f"the charge is {charge['status']}")
            intent = self._intent(charge)
            charge |= {"status": "succeeded", "paid": True, "captured": True, "amount_captured": charge["amount"]}
            charge["balance_transaction"] = self._books.move(
                "charge", charge["amount"], charge["currency"], charge["id"]
            )
            intent |= {"status": "succeeded", "amount_received": intent["amount"]}
            self._books.put(charge)
            self._books.put(intent)
            self._books.announce("payment_intent.succeeded", intent)
            return charge

    def fail(self, *, key: str, code: str = "insufficient_funds") -> Params:
        """A bank debit fails, perhaps days after it had succeeded: then the money leaves again."""
        with self._books.transaction():
            charge = self._latest("charge", key)
            if charge["status"] == "failed":
                raise invalid("the charge has failed already")
            intent = self._intent(charge)
            if charge["status"] == "succeeded":
                self._books.move("payment_failure_refund", -charge["amount"], charge["currency"], charge["id"])
            charge |= {"status": "failed", "paid": False, "failure_code": code}
            reason = {"type": "invalid_request_error", "code": code, "message": "The bank could not collect."}
            intent |= {"status": "requires_payment_method", "amount_received": 0, "last_payment_error": reason}
            self._books.put(charge)
            self._books.put(intent)
            self._books.announce("charge.failed", charge)
            self._books.announce("payment_intent.payment_failed", intent)
            return charge

    def of(self, name: str, document: Any) -> Params:
        """Let happen what a control request asks for: its name and the arguments."""
        happenings: dict[str, Callable[..., Params]] = {
            "contest": self.contest,
            "decide": self.decide,
            "reverse": self.reverse,
            "collect": self.collect,
            "fail": self.fail,
        }
        if name not in happenings or not isinstance(document, dict):
            raise invalid(f"POST an object to /sandbox/happenings/ and one of {', '.join(happenings)}")
        about = document.get("key") or self._books.cause_of(str(document.get("reference")))
        try:
            with self._books.transaction(f"{name} {about}"):
                changed = happenings[name](**document)
                self._books.count(f"injected happening_{name}")
                return changed
        except TypeError as error:
            raise invalid(str(error)) from None

    def _latest(self, kind: str, key: str) -> Params:
        found, _ = self._books.page(kind, {"transfer_group": key}, 1, None)
        if not found:
            raise invalid(f"there is no {kind} under the key {key}")
        return found[0]

    def _intent(self, charge: Params) -> Params:
        intent = self._books.get("payment_intent", charge["payment_intent"])
        if intent is None:
            raise AssertionError("unreachable: a charge belongs to an intent")
        return intent
