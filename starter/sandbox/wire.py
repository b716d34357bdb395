"""Stripe's wire format: forms with brackets in, JSON out, errors as Stripe words them. Source: docs.stripe.com/api."""

import hashlib
import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Params = dict[str, Any]
"""A decoded form: strings, and nested forms."""

_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. A ``str`` body is sent as it is, to play a proxy that does not speak JSON."""

    status: int
    body: Mapping[str, Any] | str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str | None:
        """The id of the object that the answer is about."""
        return self.body.get("id") if isinstance(self.body, Mapping) else None


class RefusedError(Exception):
    """An answer that refuses. ``executed`` says whether the endpoint had begun: only then its key keeps the answer."""

    def __init__(self, answer: Answer, *, executed: bool = False) -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.executed = executed


def error(status: int, kind: str, message: str, **more: Any) -> Answer:
    """An error body: ``{"error": {"type", "message", "code"?, "param"?, …}}``. Source: docs.stripe.com/api/errors."""
    return Answer(status, {"error": {"type": kind, "message": message, **more}})


def invalid(message: str, **more: Any) -> RefusedError:
    """A 400 of the validation, which no key remembers."""
    return RefusedError(error(400, "invalid_request_error", message, **more))


def server_error() -> Answer:
    """The 500 that Stripe sends when something of its own broke."""
    return error(500, "api_error", "An unknown error occurred")


def decode_form(text: str) -> Params:
    """``a[b]=1&a[c][0]=2`` becomes ``{"a": {"b": "1", "c": {"0": "2"}}}``."""
    decoded: Params = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head = name.split("[", 1)[0]
        path = [head, *_BRACKETS.findall(name[len(head) :])]
        place = decoded
        for step in path[:-1]:
            inner = place.setdefault(step, {})
            if not isinstance(inner, dict):
                raise invalid(f"Invalid {head}: expected one kind of value", param=head)
            place = inner
        place[path[-1]] = value
    return decoded


def fingerprint(method: str, path: str, params: Params) -> str:
    """What Stripe compares when a key comes again: the endpoint and its parameters."""
    text = json.dumps([method, path, params], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def new_id(prefix: str) -> str:
    """An id of Stripe's shape: ``tr_`` and 24 letters and digits."""
    return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(24))}"


def check_known(params: Params, known: str) -> None:
    """Refuse parameters that the endpoint does not have, as Stripe does."""
    for name in params:
        if name not in known.split():
            raise invalid(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def required(params: Params, name: str) -> str:
    """Return a parameter that must be there and be text."""
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
    return value


def positive_integer(params: Params, name: str) -> int:
    """Return an amount: digits only, above zero."""
    text = required(params, name)
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) == 0:
        raise invalid("Invalid positive integer", code="parameter_invalid_integer", param=name)
    return int(text)


def metadata(params: Params) -> dict[str, str]:
    """Return the metadata, within Stripe's limits: 50 keys of 40 characters, values of 500."""
    given = params.get("metadata") or {}
    if not isinstance(given, dict) or len(given) > 50:
        raise invalid("Invalid metadata", param="metadata")
    for key, value in given.items():
        if len(key) > 40 or not isinstance(value, str) or len(value) > 500:
            raise invalid("Invalid metadata", param=f"metadata[{key}]")
    return given
