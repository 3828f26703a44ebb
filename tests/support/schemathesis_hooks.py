"""What Schemathesis needs to send the bodies of the server: their media types as text."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/jsonlines")
def json_lines(context: Any, value: Any) -> bytes:
    """Return a body of text."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


schemathesis.serializer.alias("text/csv", "application/jsonlines")
