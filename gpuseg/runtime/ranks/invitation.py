"""What rank 0 tells the others, so that they and nobody else can join it."""

import json
from dataclasses import asdict, dataclass

from gpuseg import __version__
from gpuseg.runtime.key_pair import KeyPair


@dataclass(frozen=True)
class Invitation:
    """How to join the run of rank 0.

    Attributes
    ----------
    addresses : tuple of str
        Of the scheduler; one may be reached where another cannot.
    pair : KeyPair
    version : str
        Of gpuseg on rank 0.
    """

    addresses: tuple[str, ...]
    pair: KeyPair
    version: str = __version__

    def to_text(self) -> str:
        """Return the invitation as a text to publish. It has a secret key."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Invitation | None":
        """Return the invitation of a text; None for a text that is none, as a part of one."""
        try:
            match json.loads(text):
                case {
                    "addresses": [*addresses],
                    "pair": {"key": str(key), "certificate": str(certificate)},
                    "version": str(version),
                }:
                    return cls(tuple(map(str, addresses)), KeyPair(key, certificate), version)
        except ValueError:
            pass
        return None
