"""Certificates: that of a run that connects to a scheduler, and those that the run trusts."""

import stat
from dataclasses import dataclass
from pathlib import Path

from gpuseg.errors import ConfigError

ENCRYPTED = ("tls://", "wss://")
"""Schemes of the addresses of schedulers to which certificates are shown."""

_PEM = "it must have certificates or a key as PEM text"


@dataclass(frozen=True)
class TlsFiles:
    """Paths of files of PEM text.

    Attributes
    ----------
    ca_file : str
        Certificates of the authority that signed those of the scheduler and of the workers.
    cert : str
        The certificate of this client.
    key : str or None
        Its key; None if it is in the file of the certificate.
    """

    ca_file: str
    cert: str
    key: str | None

    def check(self) -> None:
        """Refuse files that cannot be read, and a key that does not belong to the certificate.

        Raises
        ------
        ConfigError
        """
        import ssl  # which few jobs need

        for name in ("ca_file", "cert", "key"):
            path = getattr(self, name)
            if path is not None:
                _check_file(f"tls_{name}", path)
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                "tls.not_a_certificate", f"holds no certificates ({_reason(error)})",
                value=self.ca_file, rule=_PEM, parameter="tls_ca_file",
            ) from None  # fmt: skip
        password = _NoPassword()
        try:
            context.load_cert_chain(self.cert, self.key, password)
        except (ssl.SSLError, ValueError) as error:
            parameter = "tls_cert" if self.key is None else "tls_key"
            path = self.cert if self.key is None else self.key
            if password.is_asked:
                raise ConfigError(
                    "tls.encrypted_key", "the key has a password, which a job cannot ask for",
                    value=path, parameter=parameter,
                    hint="write the key without its password to a file that only you can read: "
                    "openssl pkey -in KEY -out NEW_KEY",
                ) from None  # fmt: skip
            raise ConfigError(
                "tls.not_a_pair", f"is no key of the certificate in {self.cert} ({_reason(error)})",
                value=path, rule=_PEM, parameter=parameter,
                hint="name the key with which the certificate was made",
            ) from None  # fmt: skip


class _NoPassword:
    """Answers the question for the password of a key, which would wait for a terminal."""

    is_asked = False

    def __call__(self) -> str:
        self.is_asked = True
        return ""


def _check_file(parameter: str, path: str) -> None:
    """Refuse what cannot be read; never wait for a pipe."""
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):
            with Path(path).open("rb"):
                return
        problem = "is not a file"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    raise ConfigError(
        "tls.unreadable_file", problem, value=path, parameter=parameter,
        hint="check the path, and that you may read the file",
    )  # fmt: skip


def _reason(error: Exception) -> str:
    """Return what OpenSSL says, without the place in its code."""
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()
