"""The embedded stack as it is started: its sandbox tells its API, and its worker applies what was told."""

import tempfile
from pathlib import Path

import httpx
import psycopg

from starter.embedded.stack import Stack
from tests.servers import eventually


def test_the_stacks_sandbox_tells_its_api_and_its_worker_looks_into_it() -> None:
    """A transfer that is not ours is told, stored, looked into and ignored, all by the programs themselves."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Stack(Path(directory) / "home", progress=lambda _: None, api=True) as endpoints,
        psycopg.connect(endpoints.database_url.replace("+psycopg", ""), autocommit=True) as connection,
    ):
        transfer = {"amount": "100", "currency": "eur", "destination": "acct_x", "metadata[holdfast_key]": "not-ours"}
        sandbox = httpx.Client(base_url=endpoints.stripe_api_base, auth=(endpoints.stripe_api_key, ""), trust_env=False)
        sandbox.post("/v1/transfers", data=transfer).raise_for_status()
        query = "SELECT type, status, last_error FROM gateway_event WHERE status <> 'pending'"
        told = eventually(lambda: connection.execute(query).fetchall())
        assert told == [("transfer.created", "ignored", "it is about no payout of ours")]
