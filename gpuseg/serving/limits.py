"""How much one request may ask for."""

from dataclasses import dataclass

from gpuseg.serving.request_errors import RequestError


@dataclass(frozen=True)
class RequestLimits:
    """RequestLimits of a server process.

    Attributes
    ----------
    body_bytes : int
        Most bytes of a request's body.
    rows : int
        Most rows of a request.
    seconds : float
        Most seconds from a request's first byte to its last one, and then to its answer.
    requests : int
        Most requests at the same time; further ones get 503.
    header_bytes : int
        Most bytes of the request line and the headers together.
    connections : int
        Most connections at the same time; each takes a file descriptor.
    """

    body_bytes: int = 2**25
    rows: int = 100_000
    seconds: float = 30.0
    requests: int = 256
    header_bytes: int = 2**15
    connections: int = 900

    def check_rows(self, n_rows: int) -> None:
        """Refuse too many rows.

        Raises
        ------
        RequestError
        """
        if n_rows > self.rows:
            raise RequestError(
                413,
                "request.too_many_rows",
                f"a request may have {self.rows:,} rows; send the others in further requests",
            )

    def too_large(self) -> RequestError:
        """Return the error of a body that is too long."""
        return RequestError(
            413,
            "request.too_large",
            f"a body may have {self.body_bytes:,} bytes; send the rows in several requests",
            closes=True,
        )
