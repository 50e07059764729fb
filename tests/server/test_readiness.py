"""The health check by itself."""

import shutil
import subprocess
import sys

import pytest

from server.readiness import NotReady, check, overlap
from server.triton import ROOT, free_port


def test_overlap_is_intersection_over_union():
    assert overlap([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert overlap([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert overlap([0, 0, 2, 2], [2, 0, 3, 2]) == 0


def test_a_running_server_is_ready(server):
    check(server.http_url)


def test_samples_may_be_a_users_own(server, samples, tmp_path):
    """A folder of one's own, as one trains for another portal: its first answer must be right."""
    shutil.copy(samples / "captcha_lines.png", tmp_path)
    answers = tmp_path / "captchas.json"
    answers.write_text('{"captcha_lines.png": "541060"}')
    check(server.http_url, tmp_path)
    answers.write_text('{"captcha_lines.png": "541061"}')
    with pytest.raises(NotReady, match=r"captcha_lines\.png: read 541060, expected 541061"):
        check(server.http_url, tmp_path)


def test_nobody_listening_is_not_ready_by_url():
    url = f"127.0.0.1:{free_port('127.0.0.1')}"
    with pytest.raises(NotReady, match=f"{url}/v2/health/ready: .*refused"):
        check(url)


def test_the_command_tells_by_its_exit_status(server):
    def run(url):
        command = [sys.executable, "server/readiness.py", "--url", url]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert run(server.http_url).returncode == 0
    nobody = run(f"127.0.0.1:{free_port('127.0.0.1')}")
    assert nobody.returncode == 1
    assert "refused" in nobody.stderr
