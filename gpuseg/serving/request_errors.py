"""Requests that are refused, each with its HTTP status."""

from collections.abc import Mapping
from typing import Any

from gpuseg.printable import printable_text


class RequestError(Exception):
    """A request that gets no scores.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Stable name of the rule that is broken, as errors of gpuseg have it.
    message : str
        What is wrong, and the rule; it may have data of the request.
    headers : mapping of str to str
        Further headers of the answer.
    closes : bool
        Whether the connection is closed after the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(status, code)
        self.status, self.code, self.closes = status, code, closes
        self.message = printable_text(message)
        self.headers: Mapping[str, str] = headers or {}

    def body(self) -> dict[str, Any]:
        """Return the values of the body, which is JSON whatever the request was."""
        return {"error": self.message, "code": self.code}


def malformed(code: str, message: str) -> RequestError:
    """Return the error of a body that does not have the form that its protocol asks for."""
    return RequestError(400, code, message)


class Disconnected(Exception):
    """The client has gone before its request was complete."""
