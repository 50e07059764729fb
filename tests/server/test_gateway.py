"""The gateway beside the server."""

import json
import os
import signal
import socket
import time
import urllib.request
from dataclasses import replace

import pytest

from server import ServerError
from server.gateway import Gateway


@pytest.fixture(autouse=True)
def _without_log(monkeypatch):
    monkeypatch.setenv("COUNTERSIGN_GATEWAY_LOG", "0")


def test_it_answers_beside_the_server_and_its_death_is_told(server, samples):
    page = (samples / "page_150dpi.jpg").read_bytes()
    with Gateway(replace(server.settings, gateway_port=0)) as gateway:
        asked = urllib.request.Request(f"http://{gateway.url}/detect", page)
        asked.add_header("Content-Type", "image/jpeg")
        assert json.load(urllib.request.urlopen(asked))["detections"]
        assert gateway.died == ""
        os.kill(gateway.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while not gateway.died and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gateway.died == "the gateway died, exit status -9"


def test_why_it_does_not_start_is_told(server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ServerError, match=r"the gateway did not start: .*already in use"),
            Gateway(replace(server.settings, gateway_port=port)),
        ):
            pass
