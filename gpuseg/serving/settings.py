"""What a server is told at its start; its workers get the same as JSON."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from gpuseg.serving.limits import RequestLimits


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server.

    Attributes
    ----------
    model : str
        Path or URL of an output or its ``_model``.
    host : str
    port : int
        0 takes any that is free.
    workers : int
        Number of processes.
    token_env : str or None
        Environment variable with the token that every call needs.
    name : str
        The model's name in the Open Inference Protocol.
    poll_seconds : float
        How often to look for a new output.
    limits : RequestLimits
    """

    model: str
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    token_env: str | None = None
    name: str = "segments"
    poll_seconds: float = 2.0
    limits: RequestLimits = field(default_factory=RequestLimits)

    def to_json(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ServerSettings":
        """Return the settings from the result of `to_json`."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "limits": RequestLimits(**values["limits"])})
