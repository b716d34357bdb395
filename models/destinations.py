"""Where a webhook may go: an address on the public internet, and nothing near us. Source: edge case 45.

Pure: a name is looked up elsewhere, and what it led to is judged here. Whoever connects has to connect to what was
judged, since a name may lead elsewhere a moment later.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Self

MAX_URL_CHARACTERS: Final = 2000
_MAX_SHOWN: Final = 100
_LAST_PORT: Final = 65535

# Strict on purpose: where parsers of addresses disagree, one that checks can be made to see another host than one that
# connects. No credentials, no backslash, no percent sign in the host, no fragment.
_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\x00-\x20\x7f/?#@:\[\]\\%<>\"^`{|}]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>[/?][\x21\x22\x24-\x5b\x5d-\x7e]*)?",
    re.ASCII,
)
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,252})")

# Not reachable by everybody, or a way round: the forms of IPv6 that hold an IPv4 address among them. What is not listed
# here and not within 2000::/3 is refused as well. Sources: the IANA special-purpose address registries (RFC 6890).
_NOT_PUBLIC_4: Final = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
_GLOBAL_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(one) for one in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)


class DestinationRefusedError(ValueError):
    """A webhook may not go there; the message says why and what may be."""


@dataclass(frozen=True)
class Destination:
    """An address as it is asked for: ``host`` is ASCII, ``target`` the path with the query."""

    scheme: str
    host: str
    port: int
    target: str
    allow_loopback: bool = False

    @classmethod
    def parse(cls, url: str, *, allow_loopback: bool = False) -> Self:
        """Read ``https://host[:port][/path][?query]``. Raises ``DestinationRefusedError``.

        ``allow_loopback`` is for development: this machine is allowed then, in plain http as well.
        """
        form = "an address such as https://hooks.example.com/holdfast, without credentials and without a fragment"
        if len(url) > MAX_URL_CHARACTERS:
            raise DestinationRefusedError(f"an address has at most {MAX_URL_CHARACTERS} characters")
        found = _URL.fullmatch(url)
        if found is None:
            raise DestinationRefusedError(f"expected {form}")
        if found["scheme"] != "https" and not allow_loopback:
            raise DestinationRefusedError(f"plain http is not allowed: expected {form}")
        port = int(found["port"] or (443 if found["scheme"] == "https" else 80))
        if not 1 <= port <= _LAST_PORT:
            raise DestinationRefusedError(f"there is no port {port}: ports are 1 to {_LAST_PORT}")
        target = found["target"] or "/"
        return cls(
            found["scheme"],
            _ascii(found["host"]),
            port,
            target if target.startswith("/") else f"/{target}",
            allow_loopback,
        )

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    def judged(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """The addresses that the name led to, if a webhook may go to each of them.

        One that may not refuses all: a name that leads to both is a trap. Raises ``DestinationRefusedError``.
        """
        if not addresses:
            raise DestinationRefusedError(f"{self.host} leads to no address")
        for one in addresses:
            loopback = self.allow_loopback and _address(one).is_loopback
            if loopback or (is_public(one) and self.scheme == "https"):
                continue
            if is_public(one):
                raise DestinationRefusedError("plain http is allowed to this machine only: expected https")
            allowed = "public addresses and this machine are" if self.allow_loopback else "only public addresses are"
            raise DestinationRefusedError(f"{self.host} leads to an address that is not public; {allowed} allowed")
        return tuple(addresses)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, and holds no address of another kind."""
    parsed = _address(address)
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _NOT_PUBLIC_4)
    if parsed.scope_id is not None or parsed not in _GLOBAL_6:
        return False
    return not any(parsed in network for network in _NOT_PUBLIC_6)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise DestinationRefusedError(f"this is no IP address: {text[:_MAX_SHOWN]}") from None


def _ascii(host: str) -> str:
    """The host as it is looked up; of ``[::1]`` what is between the brackets."""
    if host.startswith("["):
        return str(_address(host[1:-1]))
    try:
        encoded = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        encoded = ""
    if not _HOST.fullmatch(encoded):
        raise DestinationRefusedError("this is no name of a host: expected one such as hooks.example.com")
    return encoded
