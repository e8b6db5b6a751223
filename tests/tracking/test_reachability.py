"""Work in a bounded time, and whether a server answers in it."""

import os
import socket
import time

import pytest

from dynfilt.tracking import reachability


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower() in ("no_proxy", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(("work_seconds", "ends"), [(0.0, True), (1.0, False)])
def test_work_has_its_time_and_no_more(work_seconds: float, ends: bool) -> None:
    start = time.monotonic()
    assert reachability.ends_within(0.2, lambda: time.sleep(work_seconds)) is ends
    assert time.monotonic() - start < 0.8


def test_a_name_that_nobody_resolves_costs_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: object, **kwargs: object) -> None:
        time.sleep(1.0)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(reachability, "PROBE_SECONDS", 0.2)
    start = time.monotonic()
    assert not reachability.answers("https://api.wandb.invalid")
    assert time.monotonic() - start < 0.8


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:{}", "127.0.0.1:{}"])
def test_a_proxy_that_answers_is_as_good_as_the_server(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not reachability.answers("https://api.wandb.invalid")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", proxy.format(server.getsockname()[1]))
        assert reachability.answers("https://api.wandb.invalid")
