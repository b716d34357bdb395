"""Tenants, keys, the test clock, and what became of commands."""

from datetime import timedelta
from typing import Literal, Unpack

from holdfast_client.answers.accounts import Clock, CommandStatus, JwtKey, Key, NewKey, NewTenant, Tenant
from holdfast_client.calls import Once
from holdfast_client.listing import Listing
from holdfast_client.routes.section import Section


class Accounts(Section):
    """Who may ask."""

    def create_tenant(self, *, name: str, reporting_currency: str, **how: Unpack[Once]) -> NewTenant:
        """Make a tenant, with the bootstrap secret in place of a key. Its keys are shown this once."""
        body = {"name": name, "reporting_currency": reporting_currency}
        return self._calls.post(NewTenant, "/v1/tenants", body=body, **how)

    def get_tenant(self) -> Tenant:
        """Whose books the key opens, and for whom it acts."""
        return self._calls.get(Tenant, "/v1/tenant")

    def get_command(self, command: str) -> CommandStatus:
        """What became of a command, by the id in its status URL."""
        return self._calls.get(CommandStatus, "/v1/commands/{}", command)

    def list_api_keys(self) -> Listing[Key]:
        """API keys, newest first, also those that open nothing any more. For operators, as all about keys."""
        return self._calls.listing(Key, "/v1/api-keys")

    def create_api_key(
        self, *, role: Literal["operator", "platform", "read_only"], name: str, **how: Unpack[Once]
    ) -> NewKey:
        """Make a key of the same books, test or live, as the one that asks."""
        return self._calls.post(NewKey, "/v1/api-keys", body={"role": role, "name": name}, **how)

    def rotate_api_key(self, api_key: str, *, grace: timedelta | None = None, **how: Unpack[Once]) -> NewKey:
        """Make a key in place of another, which stays good for ``grace``: a day unless it is given."""
        return self._calls.post(NewKey, "/v1/api-keys/{}/rotate", api_key, body={"grace": grace}, **how)

    def revoke_api_key(self, api_key: str, **how: Unpack[Once]) -> None:
        """Let a key open nothing any more, at once. The last operator key stays."""
        self._calls.delete("/v1/api-keys/{}", api_key, **how)

    def list_jwt_keys(self) -> Listing[JwtKey]:
        """Registered public keys, newest first."""
        return self._calls.listing(JwtKey, "/v1/jwt-keys")

    def register_jwt_key(self, *, name: str, public_key: str, **how: Unpack[Once]) -> JwtKey:
        """Register a public key in PEM: tokens that it verifies, with its id as ``kid``, are those of end users."""
        return self._calls.post(JwtKey, "/v1/jwt-keys", body={"name": name, "public_key": public_key}, **how)

    def revoke_jwt_key(self, jwt_key: str, **how: Unpack[Once]) -> None:
        """Accept no token of this key any more, at once."""
        self._calls.delete("/v1/jwt-keys/{}", jwt_key, **how)

    def get_clock(self) -> Clock:
        """The tenant's time. Test keys only."""
        return self._calls.get(Clock, "/v1/test-clock")

    def advance_clock(self, by: timedelta | str, **how: Unpack[Once]) -> Clock:
        """Move the tenant's clock by ``P14D``, say; returns when every deadline that came due was handled."""
        return self._calls.post(Clock, "/v1/test-clock/advance", body={"by": by}, **how)
