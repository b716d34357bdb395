"""Who asks: an API key of a tenant, or one of its end users with a token, and for whom they act.

Source: http-contract.md, "Authentication".
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

import jwt
from fastapi import Request
from pydantic import ValidationError
from sqlalchemy import Engine

from ledger import keys
from ledger.keys import Holder, Issuer
from models.commands import Actor
from models.ids import is_id
from starter.api.problems import ProblemError

KeyRole = Literal["operator", "platform", "read_only", "party"]

AUDIENCE: Final = "holdfast"
_LONGEST_LIFE: Final = timedelta(hours=24)
_LEEWAY: Final = timedelta(seconds=30)
_LONGEST_TOKEN: Final = 4096
_PEOPLE: Final = frozenset({"buyer", "seller"})
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="holdfast"'}


@dataclass(frozen=True)
class Principal:
    """Whose books, with which rights, and as whom. ``key`` names what let them in, for limits and logs.

    ``role`` is the key's; an end user's is ``party``. ``actor`` is whom commands name.
    """

    tenant: str
    mode: Literal["test", "live"]
    role: KeyRole
    actor: Actor
    key: str

    @property
    def party(self) -> str | None:
        """The buyer or seller for whom they act, whose things alone they see then."""
        return self.actor.party if self.actor.role in _PEOPLE else None

    @property
    def scope(self) -> str:
        """What an idempotency key is unique within: end users cannot use up the platform's keys, or each other's."""
        return f"@{self.actor}/" if self.role == "party" else ""


def authenticate(engine: Engine, request: Request) -> Principal:
    """The principal of a request. Raises ``ProblemError``: 401 without good credentials, 403 for another's role."""
    token = bearer(request)
    claimed = request.headers.get("Holdfast-Actor")
    if token.count(".") == 2:
        return _end_user(engine, token, claimed)
    found = keys.holder(engine, token) if token.startswith("hf_") else None
    if found is None:
        raise unauthorized("the key is unknown, expired or revoked")
    return Principal(found.tenant, found.mode, found.role, _actor(found, claimed), found.key)


def refuse_unless_bootstrap(request: Request, secret: str | None) -> None:
    """Raise 401 unless the bearer token is the bootstrap secret; 404 where none is configured."""
    if secret is None:
        raise ProblemError(404, "tenants are not made over HTTP here: HOLDFAST_BOOTSTRAP_SECRET is not set")
    given, expected = (hashlib.sha256(one.encode()).digest() for one in (bearer(request), secret))
    if not hmac.compare_digest(given, expected):
        raise unauthorized("this is not the bootstrap secret")


def unauthorized(why: str) -> ProblemError:
    """401 with the challenge that RFC 9110 wants."""
    return ProblemError(401, why, headers=_CHALLENGE)


def bearer(request: Request) -> str:
    """The bearer token. Raises ``ProblemError`` (401)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
        raise unauthorized("expected the header `Authorization: Bearer <key>`")
    return token


def _actor(holder: Holder, claimed: str | None) -> Actor:
    """Whom a key acts for: a party that it names, an operator by name if the key is one, or itself."""
    if claimed is None:
        return Actor(role="operator" if holder.role == "operator" else "platform")
    role, _, party = claimed.partition(":")
    if role == "operator" and holder.role != "operator":
        raise ProblemError(403, "Holdfast-Actor: only an operator key acts as an operator")
    if role not in _PEOPLE | {"operator"} or not party:
        raise ProblemError(400, "Holdfast-Actor: expected buyer:<party>, seller:<party>, or operator:<name>")
    try:
        return Actor(role=role, party=party)  # type: ignore[arg-type]  # checked above
    except ValidationError:
        raise ProblemError(
            400, "Holdfast-Actor: a party is 1 to 64 letters, digits, dots, underscores, colons and hyphens"
        ) from None


def _end_user(engine: Engine, token: str, claimed: str | None) -> Principal:
    """A token says who its bearer is, and nobody else may be claimed. Source: RFC 8725, best practices for JWT."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError:
        raise unauthorized("the token cannot be read") from None
    issuer = keys.issuer(engine, kid) if isinstance(kid, str) and is_id("jwk", kid) else None
    if issuer is None:
        raise unauthorized("the token's `kid` is no key that is registered and in use")
    claims = _claims(token, issuer)
    try:
        actor = Actor(role=claims["role"], party=claims["sub"])  # type: ignore[arg-type]  # the model checks
    except ValidationError:
        raise unauthorized("the token's claims: `sub` is the party's id, `role` is buyer or seller") from None
    if actor.role not in _PEOPLE:
        raise unauthorized("the token's claim `role` is buyer or seller")
    if claimed is not None and claimed != str(actor):
        raise ProblemError(403, f"the token is {actor}'s, who acts for nobody else")
    return Principal(issuer.tenant, issuer.mode, "party", actor, f"{issuer.key}:{actor}")


def _claims(token: str, issuer: Issuer) -> dict[str, str]:
    """Verified with the algorithm that the key was registered for, whatever the token says of itself."""
    try:
        claims: dict[str, object] = jwt.decode(
            token,
            issuer.public_key,
            algorithms=[issuer.algorithm],
            audience=AUDIENCE,
            leeway=_LEEWAY,
            options={"require": ["exp", "iat", "sub", "aud"]},
        )
    except jwt.ExpiredSignatureError:
        raise unauthorized("the token has expired") from None
    except jwt.InvalidTokenError as error:
        raise unauthorized(f"the token is not accepted: {_reason(error)}") from None
    issued, expires = claims["iat"], claims["exp"]
    if not isinstance(issued, int) or not isinstance(expires, int) or expires - issued > _LONGEST_LIFE.total_seconds():
        raise unauthorized("the token may live for at most 24 hours from `iat` to `exp`")
    return {"sub": str(claims["sub"]), "role": str(claims.get("role"))}


def _reason(error: jwt.InvalidTokenError) -> str:
    match error:
        case jwt.MissingRequiredClaimError():
            return f"it lacks the claim `{error.claim}`"
        case jwt.InvalidAudienceError():
            return f"its audience is not {AUDIENCE}"
        case jwt.ImmatureSignatureError():
            return "it is not valid yet"
        case _:
            return "its signature does not verify"
