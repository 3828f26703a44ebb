"""Ids as keyed hashes: HMAC-SHA-256 (RFC 2104) of their text, in hexadecimal digits.

The key is read from an environment variable, on each worker from its own: it is in no job, no
message, no manifest and no file. The text of a number is decimal, that of a date ISO 8601.
"""

import hmac
import os

import pyarrow as pa
import pyarrow.compute as pc

from gpuseg.errors import JobError, ResourceError

_LEAST_BYTES = 16


def check_key(variable: str, key: str) -> None:
    """See that the environment of the caller has a usable key; `key` is the job's key for it.

    Raises
    ------
    JobError
        For a short key, which could be guessed.
    ResourceError
        For a variable that is not set.
    """
    value = os.environ.get(variable)
    if value is None:
        raise ResourceError(
            f"{key} = {variable!r}: this environment variable is not set; put a secret of at "
            f"least {_LEAST_BYTES} characters into it, here and on the workers"
        )
    if len(value.encode()) < _LEAST_BYTES:
        raise JobError(
            f"{key} = {variable!r}: the secret in this environment variable has "
            f"{len(value.encode())} bytes; it must have at least {_LEAST_BYTES}, or it can be "
            "guessed"
        )


def pseudonyms(ids: pa.Array, variable: str) -> pa.Array:
    """Return the keyed hash of each id, null for null.

    Raises
    ------
    ResourceError
        Where this worker's environment has no key.
    """
    key = os.environ.get(variable, "").encode()
    if len(key) < _LEAST_BYTES:
        raise ResourceError(
            f"a worker has no secret of at least {_LEAST_BYTES} characters in the environment "
            f"variable {variable!r}, from which the key of the ids is read; set it where the "
            "worker is started, the same on all of them"
        )
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
        else hmac.digest(key, text if binary else text.encode(), "sha256").hex()
        for text in texts.to_pylist()
    ], pa.string())  # fmt: skip
