"""Credentials of a cluster that is started for one run: nobody without them can reach it.

A process that connects to a scheduler or worker can run any code there. All connections of such a
cluster are encrypted, and both sides show a certificate whose key only the processes of the run
have. On one machine, keys are handed over in memory and through pipes.
"""

from typing import Any

from distributed import Security

from gpuseg.runtime.key_pair import KeyPair, new_key_pair

_ROLES = ("scheduler", "worker", "client")


def new_credentials() -> Security:
    """Return a new key and its certificate, for all processes of a run."""
    return credentials_of(new_key_pair())


def credentials_of(pair: KeyPair) -> Security:
    """Return credentials of the processes that have a key."""
    options: dict[str, Any] = {"tls_ca_file": pair.certificate}
    for role in _ROLES:
        options[f"tls_{role}_key"], options[f"tls_{role}_cert"] = pair.key, pair.certificate
    return Security(require_encryption=True, **options)
