"""The master keys: one current, older ones that are still understood, and a key of its own for each purpose.

AES-256-GCM under keys that HKDF derives per purpose (RFC 5869), so that what was made for one purpose means nothing for
another. NIST SP 800-38D: a random nonce of 96 bits per encryption.
"""

import base64
import binascii
import hmac
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Purpose = Literal["payload", "seal", "personal", "answer", "webhook", "session"]

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,16}")
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class UnknownKeyError(ValueError):
    """It was encrypted under a key that this keyring does not have: the settings lack an older key."""


class DamagedError(ValueError):
    """It was not encrypted by us for this purpose and place, or it was changed since."""


@dataclass(frozen=True)
class Keyring:
    """Master keys by id, the current one first. They do not show in ``repr``."""

    keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``id:base64,id:base64``, each of 32 bytes. Raises ``ValueError``, which does not repeat the key."""
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.split(","), start=1):
            identifier, _, encoded = part.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if not _ID.fullmatch(identifier) or len(key) != _KEY_BYTES or identifier in keys:
                raise ValueError(
                    f"key {number} of the keyring is not an id of its own (letters, digits, - and _, at most 16), "
                    "a colon, and the base64 of 32 bytes"
                )
            keys[identifier] = key
        return cls(keys)

    @property
    def current(self) -> str:
        """The id of the key that encrypts and signs."""
        return next(iter(self.keys))

    def encrypt(self, purpose: Purpose, plain: bytes, place: str) -> bytes:
        """Encrypt for a purpose and a place (what it belongs to), which decrypting has to name again.

        The answer is: one byte length of the key's id, the id, the nonce, the ciphertext with its tag.
        """
        head = len(self.current).to_bytes() + self.current.encode()
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._cipher(self.current, purpose).encrypt(nonce, plain, head + place.encode())

    def decrypt(self, purpose: Purpose, token: bytes, place: str) -> bytes:
        """Inverse of ``encrypt``. Raises ``UnknownKeyError``, ``DamagedError``."""
        end = 1 + (token[0] if token else 0)
        head, nonce, sealed = token[:end], token[end : end + _NONCE_BYTES], token[end + _NONCE_BYTES :]
        identifier = head[1:].decode("ascii", "replace")
        if not _ID.fullmatch(identifier) or len(nonce) != _NONCE_BYTES:
            raise DamagedError("this is nothing that we encrypted")
        if identifier not in self.keys:
            raise UnknownKeyError(f"the keyring lacks the key {identifier!r}")
        try:
            return self._cipher(identifier, purpose).decrypt(nonce, sealed, head + place.encode())
        except InvalidTag:
            raise DamagedError("it was encrypted for something else, or changed since") from None

    def sign(self, purpose: Purpose, message: bytes) -> str:
        """HMAC-SHA256 under the current key: ``id:hex``."""
        return f"{self.current}:{self._mac(self.current, purpose, message)}"

    def verifies(self, purpose: Purpose, message: bytes, signature: str) -> bool:
        """Whether one of our keys made the signature for this message."""
        identifier, _, mac = signature.partition(":")
        if identifier not in self.keys:
            return False
        return hmac.compare_digest(self._mac(identifier, purpose, message).encode(), mac.encode())

    def _cipher(self, identifier: str, purpose: Purpose) -> AESGCM:
        return AESGCM(_derived(self.keys[identifier], purpose))

    def _mac(self, identifier: str, purpose: Purpose, message: bytes) -> str:
        return hmac.new(_derived(self.keys[identifier], purpose), message, sha256).hexdigest()


@lru_cache(maxsize=64)
def _derived(key: bytes, purpose: Purpose) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=f"holdfast {purpose}".encode()).derive(key)
