"""Ids as keyed hashes: HMAC-SHA-256 (RFC 2104) of their text, in hexadecimal digits.

The key is read from an environment variable, on each worker from its own: it is in no job, no
message, no manifest and no file. The text of a number is decimal, that of a date ISO 8601.
"""

import hmac
import os
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import ConfigError, ResourceError

_MIN_BYTES = 16
_PROBE = b"gpuseg: do these workers have the same key?"


@dataclass(frozen=True)
class Key:
    """Where the key is, and what tells whether a worker has the same one.

    Attributes
    ----------
    variable : str
        Of the environment.
    probe : bytes
        A keyed hash of nothing in particular; it goes to workers, and into no file.
    """

    variable: str
    probe: bytes = field(repr=False)

    @classmethod
    def from_env(cls, variable: str, key: str) -> "Key":
        """Look for a usable key in the caller's environment; `key` is the job's key for it.

        Raises
        ------
        ConfigError
            For a short key, which could be guessed.
        ResourceError
            For a variable that is not set.
        """
        value = os.environ.get(variable)
        if value is None:
            raise ResourceError(
                f"{key} = {variable!r}: this environment variable is not set; put a secret of at "
                f"least {_MIN_BYTES} characters into it, here and on the workers"
            )
        secret = value.encode()
        if len(secret) < _MIN_BYTES:
            raise ConfigError(
                f"{key} = {variable!r}: the secret in this environment variable has {len(secret)} "
                f"bytes; it must have at least {_MIN_BYTES}, or it can be guessed"
            )
        return cls(variable, hmac.digest(secret, _PROBE, "sha256"))

    def secret(self) -> bytes:
        """Return the key from this worker's environment.

        Raises
        ------
        ResourceError
            Where there is none, or another than the caller's.
        """
        secret = os.environ.get(self.variable, "").encode()
        if not hmac.compare_digest(hmac.digest(secret, _PROBE, "sha256"), self.probe):
            raise ResourceError(
                f"a worker has no secret in the environment variable {self.variable!r}, or another "
                "than the caller's: ids would get other hashes there; set it where the worker is "
                "started"
            )
        return secret


def pseudonyms(ids: pa.Array, key: Key) -> pa.Array:
    """Return the keyed hash of each id, null for null.

    Raises
    ------
    ResourceError
        Where this worker's environment has not the caller's key.
    """
    secret = key.secret()
    if isinstance(ids, pa.ExtensionArray):
        ids = ids.storage
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    t = pa.types
    binary = any(
        own(ids.type)
        for own in (t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary)
    )
    texts = ids if binary else pc.cast(ids, pa.string())
    return pa.array([
        None if text is None
        else hmac.digest(secret, text if binary else text.encode(), "sha256").hex()
        for text in texts.to_pylist()
    ], pa.string())  # fmt: skip
