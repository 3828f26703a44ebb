"""Where the processes of a run meet: rank 0 publishes a text, the others read it.

The text has the key of the run's cluster, so the place must be for the user of the run alone.
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from gpuseg.runtime.key_pair import KeyPair
from gpuseg.runtime.ranks.invitation import Invitation

_SECONDS_BETWEEN_LOOKS = 0.1


class Rendezvous(ABC):
    """A place where the processes of a run meet.

    Attributes
    ----------
    port : int
        The port on which rank 0 listens; 0 for any.
    pair : KeyPair or None
        The key of the cluster, if all ranks know it before; otherwise rank 0 makes a new one.
    """

    port: int = 0
    pair: KeyPair | None = None

    @abstractmethod
    def publish(self, text: str) -> None:
        """Make a text known; rank 0 calls this once."""

    @abstractmethod
    def await_text(self, seconds: float) -> str | None:
        """Return the text of rank 0; None if there is none within some seconds.

        It may be that of an earlier start of the run; then it is asked for again.
        """

    @abstractmethod
    def describe(self) -> str:
        """Return a clause that says where the ranks meet."""

    @abstractmethod
    def withdraw(self) -> None:
        """Remove what was published; rank 0 calls this at the end of the run."""


class PrivateFiles(Protocol):
    """A folder of small files that only the user of the run can read or write."""

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


class FileRendezvous(Rendezvous):
    """Meet at a file that all ranks see.

    Parameters
    ----------
    files : PrivateFiles
    folder : str
        Place of the folder, for messages.
    name : str
        Name of the file, for this start of the run.
    """

    def __init__(self, files: PrivateFiles, folder: str, name: str) -> None:
        self._files, self._folder, self._name = files, folder, name

    def publish(self, text: str) -> None:
        self._files.write(self._name, text.encode())

    def await_text(self, seconds: float) -> str | None:
        deadline = time.monotonic() + seconds
        while (content := self._files.read(self._name)) is None:
            if time.monotonic() > deadline:
                return None
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return content.decode(errors="replace")

    def withdraw(self) -> None:
        self._files.remove(self._name)

    def describe(self) -> str:
        return f"the ranks meet in the folder {self._folder}, which all of their machines must see"


class AddressRendezvous(Rendezvous):
    """Meet at an address that all ranks know, with a key that each derives from a shared secret.

    Parameters
    ----------
    host : str
    port : int
    pair : KeyPair
    """

    def __init__(self, host: str, port: int, pair: KeyPair) -> None:
        self._host, self.port, self.pair = host, port, pair

    def publish(self, text: str) -> None:
        """Do nothing: the others know all of it."""

    def await_text(self, seconds: float) -> str | None:
        host = f"[{self._host}]" if ":" in self._host else self._host
        assert self.pair is not None
        return Invitation((f"tls://{host}:{self.port}",), self.pair).to_text()

    def withdraw(self) -> None:
        """Do nothing: nothing was published."""

    def describe(self) -> str:
        return f"the ranks meet at {self._host}:{self.port}, which all of them must reach"


class FunctionRendezvous(Rendezvous):
    """Meet by functions of the caller, such as an exchange between the tasks of Spark.

    Parameters
    ----------
    publish : callable
        Takes the text of rank 0.
    await_text : callable
        Takes a number of seconds; returns the text, or None.
    """

    def __init__(
        self, publish: Callable[[str], None], await_text: Callable[[float], str | None]
    ) -> None:
        self._publish, self._await_text = publish, await_text

    def publish(self, text: str) -> None:
        self._publish(text)

    def await_text(self, seconds: float) -> str | None:
        return self._await_text(seconds)

    def withdraw(self) -> None:
        """Do nothing: the exchange is over."""

    def describe(self) -> str:
        return "the ranks meet by an exchange of their launcher"


def file_name(attempt: str) -> str:
    """Return the name of the file at which the ranks of a start of a run meet."""
    digest = hashlib.sha256(attempt.encode(errors="surrogateescape")).hexdigest()
    return f"{digest[:16] if attempt else 'ranks'}.json"
