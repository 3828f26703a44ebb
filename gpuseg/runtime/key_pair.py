"""The key of a cluster that is started for one run, and its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gpuseg-run")])
_CLOCK_SKEW = timedelta(days=1)
_VALID_FOR = timedelta(days=3650)
"""Long: connections are made during a whole run, and the key ends with it anyway."""

_ALWAYS = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)

_PURPOSE = b"gpuseg ranks, key of the cluster"


@dataclass(frozen=True)
class KeyPair:
    """A private key and its certificate, which all processes of a run have; both as PEM."""

    key: str
    certificate: str


def new_key_pair() -> KeyPair:
    """Return a new key and its certificate.

    The key is of an elliptic curve: it takes a millisecond, where an RSA key takes up to a second.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    number = x509.random_serial_number()
    builder = _builder(key.public_key(), number, now - _CLOCK_SKEW, now + _VALID_FOR)
    return _key_pair(key, builder.sign(key, hashes.SHA256()))


def derived_key_pair(secret: str) -> KeyPair:
    """Return the key of a shared secret, and its certificate, the same ones in each process.

    Signatures of this kind of key have nothing random.
    """
    seed = HKDF(hashes.SHA256(), 32, salt=None, info=_PURPOSE).derive(secret.encode())
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key()
    number = int.from_bytes(sha256(public.public_bytes_raw()).digest()[:19], "big") or 1
    return _key_pair(key, _builder(public, number, *_ALWAYS).sign(key, None))


def _builder(
    public_key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    number: int,
    start: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(public_key)
        .serial_number(number)
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _key_pair(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, certificate: x509.Certificate
) -> KeyPair:
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return KeyPair(secret.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode())
