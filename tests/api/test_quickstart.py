"""docs/quickstart.md does what it says: its programs are run as they stand there. Source: issue 4, point 7."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from holdfast_client import errors

from tests.api.service import Api, Tenant
from tests.gateway.sandbox_process import free_port
from tests.servers import eventually
from tests.unit.test_docs import ROOT

_PAGE: Final = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
_PROGRAMS: Final = dict(re.findall(r"^<!-- run: (\S+) -->\n```\w+\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL))
_PRINTED: Final = dict(re.findall(r"^<!-- printed by: (\S+) -->\n```text\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL))
_SECONDS: Final = 100


def _environment(**more: str) -> dict[str, str]:
    """This process's, without the way out of the machine: the API is on it."""
    mine = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return mine | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{mine['PATH']}"} | more


def _run(api: Api, command: str, name: str, directory: Path) -> str:
    """What a program of the page prints, in a directory of its own: nothing of the repository is beside it."""
    (directory / name).write_text(_PROGRAMS[name], encoding="utf-8")
    secret = api.servers.endpoints.bootstrap_secret
    done = subprocess.run(
        [command, name], cwd=directory, capture_output=True, text=True, timeout=_SECONDS, check=False,
        env=_environment(HOLDFAST_URL=api.address, HOLDFAST_BOOTSTRAP_SECRET=secret),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_marketplace_in_python_does_what_the_page_says(api: Api, tmp_path: Path) -> None:
    assert _run(api, sys.executable, "market.py", tmp_path) == _PRINTED["market.py"]


def test_the_marketplace_in_python_has_thirty_lines() -> None:
    assert len([line for line in _PROGRAMS["market.py"].splitlines() if line]) <= 30


def test_the_marketplace_in_curl_does_the_same_and_nothing_more_when_it_is_run_again(api: Api, tmp_path: Path) -> None:
    assert _run(api, "bash", "market.sh", tmp_path) == _PRINTED["market.sh"]
    assert _run(api, "bash", "market.sh", tmp_path) == _PRINTED["market.sh"]


def test_the_receiver_takes_what_is_signed_and_nothing_else(tenant: Tenant, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    secret = tenant.platform.post("/v1/webhook-endpoints", {"url": url})["secret"]
    printed = tmp_path / "printed"
    with printed.open("w") as output:
        receiver = subprocess.Popen(
            [sys.executable, "-c", _PROGRAMS["receiver.py"]], stdout=output, stderr=subprocess.DEVNULL,
            env=_environment(PORT=str(port), WEBHOOK_SECRET=secret),
        )  # fmt: skip
    try:
        tenant.create()
        eventually(lambda: printed.read_text() == "1 escrow.created\n", within=30)
        assert _refused(url)
    finally:
        receiver.terminate()
        receiver.wait(10)


def _refused(url: str) -> bool:
    forged = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "none"}
    headers = [part for name, value in forged.items() for part in ("-H", f"{name}: {value}")]
    told = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", *headers, "-d", "{}", url]
    return subprocess.run(told, capture_output=True, text=True, check=True, env=_environment()).stdout == "400"


def test_the_page_says_what_to_do_about_every_error() -> None:
    kinds = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    assert set(re.findall(r"^\| `(\w+Error)` \|", _PAGE, re.MULTILINE)) == kinds - {"HoldfastError"}
