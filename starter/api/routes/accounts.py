"""Tenants are made with the bootstrap secret, not with a key. Source: http-contract.md, "Authentication"."""

import hashlib

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import ConfigDict
from starlette.concurrency import run_in_threadpool

from ledger import keys
from ledger.answers import Answers, Claim
from ledger.engine import for_tenant
from models.fields import Currency, Document, Line
from starter.api.asking import Json
from starter.api.once import Collaborators, Handler, once, required_key
from starter.api.principals import refuse_unless_bootstrap
from starter.api.problems import ProblemError
from starter.api.views import View

# Whose answers these are: no tenant's, since there is none yet.
_SCOPE = "bootstrap"


class NewTenant(Document):
    """A marketplace, and the currency in which it reports."""

    name: Line
    reporting_currency: Currency

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Market", "reporting_currency": "EUR"}})


class TenantMade(View):
    """The tenant, with keys that are shown once. ``id`` names the live books, ``test_id`` those of the test keys."""

    id: str
    test_id: str
    test_key: str
    live_key: str
    operator_test_key: str
    operator_live_key: str


class BootstrapRoute(APIRoute):
    """A route that the bootstrap secret opens; carried out once per Idempotency-Key."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's own handler."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            to: Collaborators = request.app.state.holdfast
            try:
                refuse_unless_bootstrap(request, to.bootstrap_secret)
            except ProblemError:  # counted apart: whoever guesses locks nobody out who knows
                to.limiter.admit(
                    f"wrong bootstrap secrets from {request.client.host if request.client else 'somewhere'}"
                )
                raise
            to.limiter.admit("bootstrap")
            key = required_key(request)
            answers = Answers(for_tenant(to.engine, _SCOPE), _SCOPE, to.keyring)
            request.state.key = key
            return await once(request, answers, key, handle, None)

        return handler


router = APIRouter(prefix="/v1", route_class=BootstrapRoute, tags=["tenants"])


@router.post("/tenants", status_code=201)
async def create_tenant(request: Request, body: Json[NewTenant]) -> TenantMade:
    """Make a tenant: its live books, its test books, and a platform and an operator key for each."""
    to: Collaborators = request.app.state.holdfast
    claim: Claim = request.state.claim
    entropy = hashlib.sha256(f"{_SCOPE}\x1f{request.state.key}".encode()).digest()[:10]
    made = await run_in_threadpool(
        keys.create_account, to.engine, body.name, body.reporting_currency, claim.claimed_at, entropy
    )
    return TenantMade(id=made.id, test_id=made.test_id, **{name: key.secret for name, key in made.keys.items()})
