"""Run a call with a time-out; check whether a server is reachable."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

PROBE_SECONDS = 1.5


def run_with_timeout(work: Callable[[], object], seconds: float) -> bool:
    """Call `work` in a thread; False if it has not finished in time, its daemon thread keeps running."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def is_reachable(url: str) -> bool:
    """Whether a TCP connection to the server, or to the proxy before it, opens within PROBE_SECONDS.

    The time-out of a socket alone does not bound the look-up of a name.
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

    run_with_timeout(connect, PROBE_SECONDS)
    return opened.is_set()
