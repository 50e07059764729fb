"""Dockerfiles, compose.yaml and .dockerignore, held against the repository; nothing is built."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import gateway.settings
from docker import build
from server.__main__ import has_gateway
from server.memory import SHM_MIB, most_mib
from server.server import check_who_may_ask
from server.settings import Settings, parse
from server.triton import STEPS_EXIT_S

ROOT = Path(__file__).resolve().parents[2]
PYPI, NGC, GATEWAY, ONE = (
    ROOT / "docker" / f"{name}.Dockerfile" for name in ("pypi", "ngc", "gateway", "one")
)
PIP = r"pip(?: --python \S+)?"
both = pytest.mark.parametrize("dockerfile", [PYPI, NGC], ids=lambda path: path.stem)
every = pytest.mark.parametrize("dockerfile", [PYPI, NGC, GATEWAY, ONE], ids=lambda path: path.stem)


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """(name, arguments) of each instruction, in order, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    for line in text.replace("\\\n", "").splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def last(dockerfile: Path, name: str) -> str:
    return [rest for found, rest in instructions(dockerfile) if found == name][-1]


def runs_of(dockerfile: Path) -> str:
    """What the image's RUN instructions say, one a line, with single spaces."""
    lines = [" ".join(rest.split()) for name, rest in instructions(dockerfile) if name == "RUN"]
    return "\n".join(lines)


def copied(dockerfile: Path) -> list[str]:
    """What the image takes from the repository."""
    copies = [rest.split() for name, rest in instructions(dockerfile) if name == "COPY"]
    return [source for words in copies if "--from" not in words[0] for source in words[:-1]]


def passes(path: str) -> bool:
    """Whether .dockerignore lets `path` into the build: its last line that matches decides."""
    let_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?")
        if re.match(pattern.replace(r"\*", "[^/]*") + "(/|$)", path):
            let_in = line.startswith("!")
    return let_in


@every
def test_what_an_image_copies_exists_and_is_let_into_the_build(dockerfile):
    assert copied(dockerfile)
    for source in copied(dockerfile):
        assert (ROOT / source).exists(), source
        assert passes(source), source


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "training/detector/train.py",
        "server/__pycache__/triton.pyc",
        "model_repository/document_yolo/.half/model.bin",
    ],
)
def test_what_no_image_needs_is_kept_out_of_the_build(path):
    assert not passes(path)


@every
def test_what_an_image_installs_from_an_index_is_locked_by_hashes(dockerfile):
    installs = re.findall(rf"{PIP} install (.*?)(?:\|\||&&|$)", runs_of(dockerfile), re.MULTILINE)
    assert installs
    for options in installs:
        built_here = re.search(r"/tmp/\w+-\*\.whl", options)
        assert built_here or "--require-hashes" in options, options


@every
def test_an_image_has_no_package_beside_its_locks(dockerfile):
    """pip would look for what a lock leaves out, or for what builds a package, on its own."""
    for options in re.findall(
        rf"{PIP} (?:install|wheel) (.*?)(?:\|\||&&|$)", runs_of(dockerfile), re.M
    ):
        assert "--no-deps" in options, options
    builds = [path for path in copied(dockerfile) if path.endswith("build.lock")]
    assert builds == ["requirements/build.lock"]


@every
def test_an_image_does_not_run_as_root(dockerfile):
    user, _, group = last(dockerfile, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


@both
def test_an_image_checks_its_health_by_an_inference(dockerfile):
    command = last(dockerfile, "HEALTHCHECK").partition("CMD ")[2]
    assert command.split()[:4] == ["python", "-m", "server", "ready"]


@every
def test_base_images_have_a_tag_of_one_release(dockerfile):
    default = dict(rest.split("=", 1) for name, rest in instructions(dockerfile) if name == "ARG")
    for name, rest in instructions(dockerfile):
        if name == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda found: default[found[1]], rest.split()[0])
            assert re.search(r":\d+\.\d+[\w.-]*$", image), image


@both
def test_an_image_starts_the_server_with_its_front(dockerfile):
    assert json.loads(last(dockerfile, "ENTRYPOINT")) == ["python", "-m", "server"]
    assert "COUNTERSIGN_NO_GATEWAY=1" in last(dockerfile, "ENV")  # it has an image of its own


def test_the_image_of_both_starts_both_and_asks_nobody_for_a_key():
    assert json.loads(last(ONE, "ENTRYPOINT")) == ["python", "-m", "server"]
    environment = dict(word.split("=", 1) for word in last(ONE, "ENV").split())
    settings = parse([], environment)
    assert has_gateway(settings)
    check_who_may_ask(settings)  # raises if nobody could
    assert not gateway.settings.parse([], environment).log
    assert int(last(ONE, "EXPOSE")) == settings.gateway_port
    command = last(ONE, "HEALTHCHECK").partition("CMD ")[2]
    assert command.split() == ["python", "-m", "gateway", "ready"]  # through all of it


def test_the_gateways_image_starts_it_and_asks_whether_it_is_ready():
    assert json.loads(last(GATEWAY, "ENTRYPOINT")) == ["python", "-m", "gateway"]
    command = last(GATEWAY, "HEALTHCHECK").partition("CMD ")[2]
    assert command.split() == ["python", "-m", "gateway", "ready"]


def test_the_ngc_image_has_the_tritonserver_that_it_names():
    folder = dict(re.findall(r"(\w+)=(\S+)", last(NGC, "ENV")))["COUNTERSIGN_TRITON"]
    copied = [rest.split()[-1] for _, rest in instructions(NGC) if rest.startswith("--from=full")]
    assert {"bin", "backends/python", "backends/openvino"} <= set(copied)
    assert ("WORKDIR", folder) in list(instructions(NGC))


def services() -> dict:
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]


def test_compose_builds_all_images():
    built = {
        (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).resolve()
        for service in services().values()
        if "build" in service
    }
    assert built == {PYPI, NGC, GATEWAY}


@pytest.mark.parametrize("name", ["pypi", "ngc"])
def test_a_service_gets_shared_memory_and_leave_to_start_the_python_backend(name):
    service = services()[name]
    assert service["shm_size"] == "1g"
    assert service["read_only"]
    (tmp,) = service["tmpfs"]  # Docker mounts a tmpfs noexec unless told
    assert re.match(r"/tmp:(\w+,)*exec,", tmp)


@pytest.mark.parametrize("name", ["pypi", "ngc"])
def test_a_service_gets_the_time_that_a_stop_may_take(name):
    drain_and_exit = Settings().exit_timeout_s + 2 * STEPS_EXIT_S
    assert int(services()[name]["stop_grace_period"].removesuffix("s")) > drain_and_exit


def test_the_image_is_tried_with_what_compose_gives_it():
    service = services()["pypi"]
    (tmp,) = service["tmpfs"]
    size = re.search(r"size=\w+", tmp)[0]
    assert f"{size},nosuid,nodev tmp tmp" in build.CONTAINER
    assert f"size={service['shm_size']},nosuid,nodev,noexec shm dev/shm" in build.CONTAINER
    assert f"{build.STOP_S}s" == service["stop_grace_period"]
    user, _, group = last(PYPI, "USER").partition(":")
    assert f"--reuid={user} --regid={group}" in build.CONTAINER


@pytest.mark.parametrize("name", ["pypi", "ngc"])
def test_a_service_gets_the_memory_that_its_limits_may_take(name):
    service = services()[name]
    default = {key: value for key, value in re.findall(r"\$\{(\w+):-(\d+)", str(service))}
    gib, cores = int(default["MEMORY"]), int(default["CPUS"])
    most = most_mib(Settings(threads=cores))
    assert most <= gib * 1024 < most + 1024
    assert service["shm_size"] == f"{SHM_MIB // 1024}g"


@pytest.mark.parametrize("name", ["pypi", "ngc", "gateway"])
def test_a_service_listens_on_this_machine_alone_and_has_no_privileges(name):
    service = services()[name]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_gateways_log_is_in_a_volume_that_it_may_write():
    settings = dict(word.split("=", 1) for word in last(GATEWAY, "ENV").split())
    folder = settings["COUNTERSIGN_GATEWAY_DATA"]
    assert last(GATEWAY, "VOLUME") == folder
    assert last(GATEWAY, "RUN").split() == f"install -d -m 700 -o 1000 -g 1000 {folder}".split()
    assert last(GATEWAY, "USER") == "1000:1000"
    assert services()["gateway"]["volumes"] == [f"log:{folder}"]
