"""Work in a bounded time, and whether a server answers in it."""

import os
import socket
import threading

import pytest

from dynfilt.tracking import reachability


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower() in ("no_proxy", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)


def test_work_has_its_time_and_no_more() -> None:
    assert reachability.run_with_timeout(lambda: None, 60)
    ended = threading.Event()
    assert not reachability.run_with_timeout(ended.wait, 0.1)  # comes back while the work still waits
    ended.set()


def test_a_name_that_nobody_resolves_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def look_up(*args: object, **kwargs: object) -> None:
        answered.wait()
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(reachability, "PROBE_SECONDS", 0.1)
    assert not reachability.is_reachable("https://api.wandb.invalid")  # while the look-up still waits
    answered.set()


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_proxy_that_answers_is_as_good_as_the_server(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not reachability.is_reachable("https://api.wandb.invalid")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", proxy.format(server.getsockname()[1]))
        assert reachability.is_reachable("https://api.wandb.invalid")
