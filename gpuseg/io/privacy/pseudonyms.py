"""Ids as keyed hashes: HMAC-SHA-256 (RFC 2104) of their text, in hexadecimal digits.

Each worker reads the key from its own environment variable. The key is in no job, message, manifest
or file. The text of a number is decimal; the text of a date is ISO 8601.
"""

import hmac
import os
from dataclasses import dataclass, field

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.arrow import plain
from gpuseg.errors import ConfigError, ResourceError

_MIN_BYTES = 16
_PROBE = b"gpuseg: do these workers have the same key?"  # part of no result


@dataclass(frozen=True)
class Key:
    """The environment variable of a key, and a probe that compares keys.

    Attributes
    ----------
    variable : str
        Name of the environment variable.
    probe : bytes
        A keyed hash of a constant. It goes to workers and into no file.
    """

    variable: str
    probe: bytes = field(repr=False)

    @classmethod
    def from_env(cls, variable: str, parameter: str = "id_hash_key_env") -> "Key":
        """Check the key in the caller's environment; `parameter` holds the variable's name.

        Raises
        ------
        ConfigError
            For a short key, which can be guessed.
        ResourceError
            If the variable is not set.
        """
        value = os.environ.get(variable)
        if value is None:
            raise ResourceError(
                "id_hash_key.not_set",
                "this environment variable is not set",
                value=variable,
                hint=f"set it to a secret of at least {_MIN_BYTES} characters, here and on the "
                "workers",
                parameter=parameter,
            )
        secret = value.encode()
        if len(secret) < _MIN_BYTES:
            raise ConfigError(
                "id_hash_key.too_short",
                f"the secret in this environment variable has {len(secret)} bytes",
                value=variable,
                rule=f"it must have at least {_MIN_BYTES}, or it can be guessed",
                parameter=parameter,
            )
        return cls(variable, hmac.digest(secret, _PROBE, "sha256"))

    def secret(self) -> bytes:
        """Return the key from this worker's environment.

        Raises
        ------
        ResourceError
            If there is none, or it differs from the caller's.
        """
        secret = os.environ.get(self.variable, "").encode()
        if not hmac.compare_digest(hmac.digest(secret, _PROBE, "sha256"), self.probe):
            raise ResourceError(
                "id_hash_key.differs_on_worker",
                f"the environment variable {self.variable!r} of a worker is not set, or it differs "
                "from the caller's, so that ids would have other hashes there",
                hint="set it where the worker starts",
            )
        return secret


def pseudonyms(ids: pa.Array, key: Key) -> pa.Array:
    """Return the keyed hash of each id; a null stays null.

    Raises
    ------
    ResourceError
        If the environment of this worker does not have the caller's key.
    """
    secret = key.secret()
    ids = plain(ids)
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    t = pa.types
    binary = any(
        is_type(ids.type) for is_type in (t.is_binary, t.is_large_binary, t.is_fixed_size_binary)
    )
    texts = ids if binary else pc.cast(ids, pa.string())
    return pa.array([
        None if text is None
        else hmac.digest(secret, text if binary else text.encode(), "sha256").hex()
        for text in texts.to_pylist()
    ], pa.string())  # fmt: skip
