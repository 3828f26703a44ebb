"""An authority, and certificates that it signs, as files of PEM text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSWORD = b"a password"


class Files(NamedTuple):
    """Paths of a certificate, its key, and the certificate of the authority that signed it."""

    ca_file: str
    cert: str
    key: str

    def options(self) -> list[str]:
        """Options of ``dask scheduler`` and ``dask worker``."""
        return [
            *("--tls-ca-file", self.ca_file, "--tls-cert", self.cert, "--tls-key", self.key),
        ]

    def keys(self) -> dict[str, str]:
        """Keys of a job's `[runtime]`."""
        return {f"tls_{name}": path for name, path in self._asdict().items()}


class Authority:
    """Signs certificates; all its files are in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("authority")
        self._write("authority.pem", self._signed("authority", self._key, True))

    def issue(self, name: str, password: bytes | None = None) -> Files:
        """Write a new key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        encryption = (
            serialization.NoEncryption()
            if password is None
            else serialization.BestAvailableEncryption(password)
        )
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return Files(
            str(self._folder / "authority.pem"),
            self._write(f"{name}.pem", self._signed(name, key, False)),
            self._write(f"{name}.key", key.private_bytes(pem, pkcs8, encryption)),
        )

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> bytes:
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
