"""The addresses of this machine at which other ranks reach it."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator

import psutil
from distributed.utils import get_ip, get_ip_interface

from gpuseg.errors import ConfigError

LOOPBACK = "127.0.0.1"


def addresses(interface: str | None) -> list[str]:
    """Return the addresses of this machine, the one of the usual way to others first.

    Parameters
    ----------
    interface : str, optional
        Network interface to use, such as "ib0".

    Raises
    ------
    ConfigError
        If there is no such interface.
    """
    if interface is not None:
        return [_address_of(interface)]
    others = list(_all())
    first = _way_to()
    if first.startswith("127.") and others:
        first = others[0]
    return [first, *(each for each in others if each != first)]


def address_towards(host: str, interface: str | None) -> str:
    """Return the address of this machine from which it reaches a host."""
    return _address_of(interface) if interface is not None else _way_to(host)


def _way_to(host: str | None = None) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if host is None:
            return str(get_ip())
        try:
            return str(get_ip(socket.getaddrinfo(host, None)[0][4][0]))
        except OSError:
            return str(get_ip())


def _all() -> Iterator[str]:
    states = psutil.net_if_stats()
    for name, each in psutil.net_if_addrs().items():
        if name in states and states[name].isup:
            for address in each:
                if address.family == socket.AF_INET and not address.address.startswith("127."):
                    yield address.address


def _address_of(interface: str) -> str:
    try:
        return str(get_ip_interface(interface))
    except ValueError:
        raise ConfigError(
            "interface.unknown",
            f"{socket.gethostname()} has no such network interface with an IPv4 address",
            value=interface,
            rule=f"must be one of {', '.join(sorted(psutil.net_if_addrs()))}",
            parameter="interface",
        ) from None
