"""What Temporal stores of us is encrypted: arguments, results, messages of errors. Temporal never sees a key.

Every program that talks to our workflows connects with ``connected``, so that all of them speak the same way.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, Self

from google.protobuf.message import DecodeError
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)

from ledger.keyring import DamagedError, Keyring

ENCODING: Final = b"binary/encrypted"
_KEY: Final = "encryption-key-id"
_PLACE: Final = "holdfast-place"


class ForeignPayloadError(ValueError):
    """An activity was given, or answered with, what none of our workers wrote: somebody did it by hand."""


class EncryptedPayloads(PayloadCodec, WithSerializationContext):
    """AES-256-GCM of the whole payload. ``strictly`` is the place of which nothing but our own payloads is believed.

    Everywhere else what is not encrypted is let through: it is of an earlier version, and commands are protected by
    their seals (``ledger.seals``). What activities get and answer is protected by nothing else, and anyone who reaches
    Temporal can start one by hand or answer for it, so there the payload has to be ours, and made for that workflow.
    """

    def __init__(self, keyring: Keyring, strictly: str | None = None) -> None:
        self._keyring = keyring
        self._strictly = strictly

    def with_context(self, context: SerializationContext) -> Self:
        """The codec for one place: regular activities are strict, and belong to their workflow."""
        if not isinstance(context, ActivitySerializationContext) or context.is_local:
            return self
        return type(self)(self._keyring, f"activity of {context.workflow_id}")

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt under the current key."""
        return [self._encrypted(one) for one in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Inverse of ``encode``.

        Raises ``UnknownKeyError`` where a key is missing, so that a worker with fewer keys tries again and loses
        nothing. What was damaged or forged under a key of ours is passed on as it is, and then fails to convert: an
        error here would stop a workflow for whatever a stranger sends it. Raises ``ForeignPayloadError`` where strict.
        """
        return [self._decrypted(one) for one in payloads]

    def _encrypted(self, payload: Payload) -> Payload:
        place = self._strictly or ""
        data = self._keyring.encrypt("payload", payload.SerializeToString(), place)
        metadata = {"encoding": ENCODING, _KEY: self._keyring.current.encode()}
        return Payload(metadata=metadata | ({_PLACE: place.encode()} if place else {}), data=data)

    def _decrypted(self, payload: Payload) -> Payload:
        place = payload.metadata.get(_PLACE, b"").decode("utf-8", "replace")
        whole = None
        if payload.metadata.get("encoding") == ENCODING:
            try:
                whole = Payload.FromString(self._keyring.decrypt("payload", payload.data, place))
            except (DamagedError, DecodeError):
                whole = None
        if self._strictly is not None and (whole is None or place != self._strictly):
            raise ForeignPayloadError(f"this is not from a worker of ours for the {self._strictly}")
        return payload if whole is None else whole


def data_converter(keyring: Keyring | None) -> DataConverter:
    """Pydantic's converter, and around it our encryption; None leaves everything readable, for recordings."""
    if keyring is None:
        return pydantic_data_converter
    return dataclasses.replace(
        pydantic_data_converter,
        payload_codec=EncryptedPayloads(keyring),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


async def connected(temporal: dict[str, Any], keyring: Keyring | None) -> Client:
    """Connect to Temporal as our programs do. Raises ``RuntimeError`` when it cannot be reached.

    ``temporal`` are arguments of ``Client.connect``, as ``ClientConfig.load_client_connect_config()`` reads them from
    the standard ``TEMPORAL_*`` variables.
    """
    return await Client.connect(**temporal, data_converter=data_converter(keyring))


def read_keyring(keys: SecretStr | str | None) -> Keyring:
    """The keys of the settings. Raises ``ValueError`` that names the variable and says how to make a key."""
    if keys is None:
        raise ValueError(
            "HOLDFAST_KEYS must be set: the keys that payloads are encrypted and commands are sealed with, the same "
            'for every worker and every API. Make one with: echo "k1:$(openssl rand -base64 32)"'
        )
    try:
        return Keyring.parse(keys.get_secret_value() if isinstance(keys, SecretStr) else keys)
    except ValueError as error:
        raise ValueError(f'HOLDFAST_KEYS: {error}. Make one with: echo "k1:$(openssl rand -base64 32)"') from None
