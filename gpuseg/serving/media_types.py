"""Types of bodies: those that a request has, and those that it accepts."""

JSON, JSON_LINES, CSV = "application/json", "application/jsonlines", "text/csv"
HTML = "text/html"
OCTETS = "application/octet-stream"
ARROW = "application/vnd.apache.arrow.stream"

_ALIASES = {
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    "application/csv": CSV,
}


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Return the type of a content type header in lower case, and its parameters."""
    name, *parameters = header.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    given = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
    kind = name.strip().lower()
    return _ALIASES.get(kind, kind), given


def accepted(header: str, offered: tuple[str, ...]) -> str | None:
    """Return the type to answer in: the first one offered, of those that a request likes best.

    Parameters
    ----------
    header : str
        The request's `Accept`; empty accepts everything.
    offered : tuple of str
        Types, the one to prefer first.

    Returns
    -------
    str or None
        None if the request accepts none of them.
    """
    if not header.strip():
        return offered[0]
    best, best_weight = None, 0.0
    for item in header.split(","):
        kind, parameters = media_type(item)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        for offer in offered:
            matches = kind in (offer, "*/*", f"{offer.partition('/')[0]}/*")
            if matches and weight > best_weight:
                best, best_weight = offer, weight
    return best
