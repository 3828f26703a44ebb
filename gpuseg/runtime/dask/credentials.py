"""Credentials of a cluster that is started for one run: nobody without them can reach it.

A process that connects to a scheduler or worker can run any code there. All connections of such a
cluster are encrypted, and both sides show a certificate whose key only the processes of the run
have. Keys are handed over in memory and through pipes.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Security

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpuseg-run")])
_ROLES = ("scheduler", "worker", "client")
_CLOCK_SKEW = timedelta(days=1)
_VALID_FOR = timedelta(days=3650)
"""Long: connections are made during a whole run, and the key ends with it anyway."""


def new_credentials() -> Security:
    """Return a new key and its certificate, for all processes of a run.

    The key is of an elliptic curve: it takes a millisecond, where an RSA key takes up to a second.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID_FOR)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    options: dict[str, Any] = {"tls_ca_file": certificate}
    for role in _ROLES:
        options[f"tls_{role}_key"], options[f"tls_{role}_cert"] = secret, certificate
    return Security(require_encryption=True, **options)
