"""Whether a server can be reached, asked in a bounded time."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

PROBE_SECONDS = 1.5


def answers(url: str) -> bool:
    """Whether a TCP connection to the server, or to the proxy before it, opens within PROBE_SECONDS.

    In a thread, since the time-out of a socket does not bound the look-up of a name.
    """
    target = urlsplit(url)
    proxy = getproxies().get(target.scheme)
    if proxy and not proxy_bypass(target.hostname or ""):
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = (target.hostname or "", target.port or (443 if target.scheme == "https" else 80))
    opened = threading.Event()

    def connect() -> None:
        with suppress(OSError, ValueError), socket.create_connection(address, timeout=PROBE_SECONDS):
            opened.set()

    probe = threading.Thread(target=connect, daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return opened.is_set()
