"""The socket that all workers of a server accept connections from."""

import errno
import socket

from gpuseg.errors import ConfigError, ResourceError
from gpuseg.io.library_errors import first_line

BACKLOG = 2048
"""Connections that may wait to be accepted."""

_NEXT_STEPS = {
    errno.EADDRINUSE: "end the process that listens there, or give another port (--port)",
    errno.EACCES: "give a port from 1,024 on (--port)",
    errno.EADDRNOTAVAIL: "give an address of this machine (--host), such as 127.0.0.1",
}
"""What to do where an address cannot be bound, by the number of the error."""


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound and does not listen yet: until then connections are refused.

    Raises
    ------
    ConfigError
        For a host that has no address.
    ResourceError
        For an address that another process has, or that this one may not use.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            "host.unknown", first_line(error), value=host, rule="must be a name or an address",
            parameter="host",
        ) from None  # fmt: skip
    family, kind, protocol, _, address = infos[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _not_usable(host, port, error) from None
    listener.set_inheritable(True)
    return listener


def listen(listener: socket.socket) -> None:
    """Take connections from now on; workers that share the socket may each do this.

    Raises
    ------
    ResourceError
        If another process was faster: both may bind an address that nobody listens on yet.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _not_usable(host, port, error) from None


def _not_usable(host: str, port: int, error: OSError) -> ResourceError:
    return ResourceError(
        "port.taken" if error.errno == errno.EADDRINUSE else "port.not_usable",
        f"cannot listen on {host}, port {port} ({first_line(error)})",
        hint=_NEXT_STEPS.get(error.errno or 0, "give another host or port (--host, --port)"),
    )


def address_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
