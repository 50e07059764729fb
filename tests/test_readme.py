"""What the README and the pages of docs/ show does what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def block(language: str, beginning: str) -> str:
    """The README's code block in a language that has a line with that beginning."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = (text for text in blocks if re.search(rf"^\s*{beginning}", text, re.MULTILINE))
    return found


@pytest.fixture
def folder(tmp_path, samples, sample_pages, sample_captchas) -> Path:
    """A folder with the files that the README's lines name."""
    pages = [Image.open(samples / name) for name in sample_pages]
    pages[0].convert("RGB").save(tmp_path / "page.jpg")
    pages[0].save(tmp_path / "1.png")
    pages[1].save(tmp_path / "2.tif")
    (tmp_path / "scans").mkdir()
    pages[1].convert("RGB").save(tmp_path / "scans" / "a.jpg")
    shutil.copy(samples / next(iter(sample_captchas)), tmp_path / "captcha.png")
    return tmp_path


def test_the_curl_line_finds_what_is_on_the_page(server, folder, sample_pages):
    line = block("sh", "echo").replace("localhost:8000", server.http_url)
    shell = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=folder, capture_output=True, text=True
    )
    answer = json.loads(shell.stdout)
    drawn = next(iter(sample_pages.values()))["boxes"]
    assert sorted(answer["labels"]) == sorted(box["class"] for box in drawn)
    assert len(answer["boxes"]) == 4 * len(drawn)


def test_the_python_lines_print_what_was_found(server, folder, sample_pages, sample_captchas):
    code = block("python", "from countersign").replace("127.0.0.1:8001", server.grpc_url)
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    *found, first, second, digits = run.stdout.splitlines()
    drawn = next(iter(sample_pages.values()))["boxes"]
    assert sorted(line.split()[0] for line in found) == sorted(box["class"] for box in drawn)
    assert sorted(literal_eval(first)) == sorted(box["class"] for box in drawn)
    assert "signature" in literal_eval(second)
    assert digits == next(iter(sample_captchas.values()))


def test_the_lines_without_a_server_find_the_same(folder, sample_pages):
    code = block("python", "from inprocess").replace("model_repository", f"{ROOT}/model_repository")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    labels = re.findall(r"'(\w+)'", run.stdout)
    drawn = next(iter(sample_pages.values()))["boxes"]
    assert sorted(labels) == sorted(box["class"] for box in drawn)


def test_the_command_lines_work(server, folder, sample_captchas):
    lines = block("sh", "countersign").replace(" | jq .", "").strip().splitlines()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "COUNTERSIGN_URL": server.grpc_url}
    outputs = [
        subprocess.run(
            ["bash", "-c", line],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for line in lines
    ]
    table, objects, text, models = outputs
    assert "page.jpg" in table
    assert len(list((folder / "boxed").rglob("*.jpg"))) == 2
    assert json.loads(objects)["file"] == "scans/a.jpg"
    assert next(iter(sample_captchas.values())) in text
    assert re.search(r"^document_detector +\d+ +stamp ", models, re.MULTILINE)


def test_the_demo_shows_every_sample_and_leaves_its_pictures(sample_pages, sample_captchas):
    run = subprocess.run(
        [sys.executable, "-m", "examples.demo"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for name in sample_pages:
        assert name in run.stdout
        with Image.open(ROOT / "demo" / f"{Path(name).stem}.jpg") as picture:
            assert picture.size == Image.open(ROOT / "server" / "samples" / name).size
    for digits in sample_captchas.values():
        assert digits in run.stdout


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
def test_every_file_that_a_page_links_exists(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
def test_every_module_that_a_page_runs_exists(page):
    for module in re.findall(r"python -m ([a-z_.]+)", page.read_text()):
        places = ROOT / module.replace(".", "/")
        assert places.with_suffix(".py").exists() or (places / "__main__.py").exists(), module


def test_the_readme_takes_five_minutes():
    assert len(README.splitlines()) <= 150
