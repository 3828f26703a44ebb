"""A network of namespaces on this machine, with a delay and a rate (Linux, as root).

Each namespace has an interface whose frames go through this process: a switch that keeps each
frame for as long as the link takes to send it, and for the delay. Kernels without `netem` have no
other way to add a delay.

    python benchmarks/lan.py 4 0.001 1e8        4 namespaces, until its input is closed
"""

import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

_TUNSETIFF, _TAP, _NO_HEADER = 0x400454CA, 0x2, 0x1000
_MTU = 9000
_BROADCAST = b"\xff" * 6


@dataclass(frozen=True)
class Link:
    """The link between a namespace and the switch.

    Attributes
    ----------
    delay : float
        Seconds that a frame takes.
    rate : float or None
        Bits per second; None has no limit.
    """

    delay: float
    rate: float | None


@contextmanager
def network(n: int, link: Link) -> Iterator[list[str]]:
    """Start a network of n namespaces; yield their names, and remove them afterwards."""
    rate = "inf" if link.rate is None else str(link.rate)
    with subprocess.Popen(
        [sys.executable, __file__, str(n), str(link.delay), rate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as switch:
        assert switch.stdin is not None and switch.stdout is not None
        if switch.stdout.readline().strip() != "ready":
            raise RuntimeError("the network could not be made; it needs root, ip and /dev/net/tun")
        yield [_name(switch.pid, i) for i in range(n)]
        switch.stdin.close()


def _name(switch: int, number: int) -> str:
    return f"gs{switch}-{number}"


def _ip(*args: str) -> None:
    subprocess.run(["ip", *args], check=True)


def _open_tap(name: str) -> int:
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP | _NO_HEADER))
    return handle


def _make_namespace(number: int) -> int:
    """Make a namespace with one interface; return the handle of its frames."""
    name, tap = _name(os.getpid(), number), f"gst{number}"
    _ip("netns", "add", name)
    handle = _open_tap(tap)
    _ip("link", "set", tap, "netns", name)
    _ip("-n", name, "link", "set", tap, "mtu", str(_MTU))
    _ip("-n", name, "addr", "add", f"10.213.0.{number + 1}/24", "dev", tap)
    _ip("-n", name, "link", "set", tap, "up")
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "route", "add", "default", "dev", tap)
    return handle


def _forward(taps: list[int], delay: float, rate: float) -> None:
    """Forward frames until the input is closed."""
    port_of: dict[bytes, int] = {}
    free_at = [0.0] * len(taps)
    waiting: list[tuple[float, int, int, bytes]] = []
    poll, number_of, count = select.epoll(), {tap: i for i, tap in enumerate(taps)}, 0
    for handle in (0, *taps):
        poll.register(handle, select.EPOLLIN)
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0.0) if waiting else -1.0
        for handle, _ in poll.poll(pause):
            if handle == 0:
                return
            source = number_of[handle]
            frame = os.read(handle, 65_536)
            port_of[frame[6:12]] = source
            now = time.monotonic()
            free_at[source] = max(free_at[source], now) + len(frame) * 8 / rate
            target = -1 if frame[:6] == _BROADCAST else port_of.get(frame[:6], -1)
            targets = [target] if target >= 0 else [i for i in range(len(taps)) if i != source]
            for one in targets:
                count += 1
                heapq.heappush(waiting, (free_at[source] + delay, count, one, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(waiting)
            os.write(taps[target], frame)


def main() -> None:
    n, delay, rate = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    with ExitStack() as stack:
        taps = []
        for i in range(n):
            stack.callback(
                subprocess.run, ["ip", "netns", "del", _name(os.getpid(), i)], check=False
            )
            taps.append(_make_namespace(i))
        print("ready", flush=True)
        _forward(taps, delay, rate)


if __name__ == "__main__":
    main()
