"""The bearer token that every call needs, if the server was given one."""

import hmac
import os

from gpuseg.errors import ConfigError
from gpuseg.serving.request_errors import RequestError


def token_from(variable: str | None) -> bytes | None:
    """Return the token in an environment variable; None without a variable.

    Raises
    ------
    ConfigError
        If the variable is not set or empty: an open server is not what was asked for.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "").strip()
    if not token:
        raise ConfigError(
            "token.empty",
            f"the environment variable {variable!r} is empty or not set",
            rule="must hold the token that every call needs",
            hint="set it, or leave --token-env out to serve without a token",
            parameter="token_env",
        )
    return os.fsencode(token)


def check_token(token: bytes | None, authorization: bytes) -> None:
    """Refuse a call without the token; the comparison takes the same time for every wrong one.

    Raises
    ------
    RequestError
    """
    if token is None:
        return
    scheme, _, given = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), token):
        raise RequestError(
            401,
            "request.unauthorized",
            "this server needs the header Authorization: Bearer TOKEN",
            headers={"www-authenticate": "Bearer"},
        )
