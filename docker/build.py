"""Builds docker/pypi.Dockerfile without a container daemon, tries the image, and says its size.

    python3 docker/build.py [--base FOLDER] [arguments of buildah bud]

Needs root, buildah, debootstrap and util-linux; leaves nothing behind. Where there is Docker or
podman, the same image comes from `docker build -f docker/pypi.Dockerfile -t countersign .`

The image runs as compose.yaml has it run: as its own user, on a root that cannot be written, with a
tmpfs at /tmp, without capabilities. Its health check, a page and a CAPTCHA sent through the front,
and a stop by SIGTERM must go well, else the exit status is 1. Arguments are passed on for networks
whose package index needs certificates: --volume /etc/ssl/certs:/etc/ssl/certs:ro
"""

import argparse
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "server" / "samples"
PACKAGES = "python3,python3-venv,libpython3.11,ca-certificates"
UNREAD = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man",
          "usr/share/locale")  # fmt: skip
START_S = 180  # HEALTHCHECK's start-period, and more for a machine at work
STOP_S = 60  # compose.yaml's stop_grace_period
PORTS = ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT")
PREDICT = "/v1/endpoints/1/deployedModels/2:predict"  # as Vertex AI calls it
LISTED = 15  # largest parts of the image that are named

# In namespaces of its own, mounts the image at $1 as a container has it, and starts the rest there
# as user 1000 without any right. /dev has the usual few; /tmp and /dev/shm are as in compose.yaml.
CONTAINER = """
cd "$1" && mount --bind . . && cd "$1"
mount -t proc proc proc
mount -t tmpfs -o mode=755 dev dev
mkdir dev/shm
for name in null zero full random urandom; do
  touch dev/$name
  mount --bind /dev/$name dev/$name
done
mount -t tmpfs -o mode=1777,size=1g,nosuid,nodev,noexec shm dev/shm
mount -t tmpfs -o mode=1777,size=64m,nosuid,nodev tmp tmp
mount -o remount,bind,ro .
shift
exec chroot . setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs --bounding-set=-all \
  --inh-caps=-all env --chdir=/countersign -i "$@"
"""


class Failed(RuntimeError):
    """The image does not do what it must; the text says what."""


class Buildah:
    """buildah with a storage of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.command = ["buildah", "--storage-driver", "vfs", "--root", str(folder / "storage")]
        self.command += ["--runroot", str(folder / "run")]

    def __call__(self, *arguments: str | Path) -> str:
        """What it prints. Raises Failed with the end of its complaint."""
        command = [*self.command, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            raise Failed(f"buildah {arguments[0]}: {(done.stdout + done.stderr)[-4000:]}")
        return done.stdout.strip()


def debian(folder: Path) -> None:
    """Lays out Debian with Python in `folder`, as small as the usual slim images."""
    options = ["--variant=minbase", f"--include={PACKAGES}"]
    command = ["debootstrap", *options, "bookworm", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for unread in UNREAD:
        shutil.rmtree(folder / unread)
        (folder / unread).mkdir()


def size_mb(path: Path) -> float:
    """What the files of a folder hold, in MB of 10^6 bytes, as registries count."""
    return int(subprocess.check_output(["du", "-sb", path]).split()[0]) / 1e6


def largest(root: Path) -> list[tuple[float, str]]:
    """The parts of the image that are over the base, the largest first."""
    folders = [root / "countersign", *root.glob("opt/venv/lib/python3*/site-packages")]
    parts = [(size_mb(path), path.name) for folder in folders for path in folder.iterdir()]
    return sorted(parts, reverse=True)[:LISTED]


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [taken.getsockname()[1] for taken in sockets]


def child(pid: int) -> int | None:
    """The process that `pid` has started, None until there is one."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    words = children.read_text().split() if children.exists() else []
    return int(words[0]) if words else None


def healthy(server: int, variables: list[str], command: list[str]) -> bool:
    """Whether the image's own health check, run beside the `server`, is content."""
    enter = [f"--target={server}", "--mount", "--pid", "--root", "--setuid=1000", "--setgid=1000"]
    inside = ["nsenter", *enter, "env", "--chdir=/countersign", "-i", *variables, *command]
    return subprocess.run(inside, capture_output=True).returncode == 0


def answer(port: int, model: str, sample: str) -> dict:
    """What the front's `model` says to a file of server/samples."""
    image = base64.b64encode((SAMPLES / sample).read_bytes()).decode()
    url = f"http://127.0.0.1:{port}/v2/models/{model}/generate"
    request = urllib.request.Request(url, json.dumps({"image": image}).encode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        return json.load(reply)


def predicted(port: int, sample: str) -> list[dict]:
    """What the gateway answers a platform."""
    image = {"b64": base64.b64encode((SAMPLES / sample).read_bytes()).decode()}
    body = json.dumps({"instances": [{"image": image}]}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{PREDICT}", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as reply:
        return json.load(reply)["predictions"]


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Failed(f"{what}: {found}, expected {expected}")


def attempt(root: Path, config: dict, began: float) -> None:
    """Starts the image that is mounted at `root`, asks it, stops it. Raises Failed."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    variables = [*config["Env"], "COUNTERSIGN_HOST=127.0.0.1"]
    variables += [f"COUNTERSIGN_{name}={port}" for name, port in ports.items()]
    (platform,) = free_ports(1)
    variables += [f"AIP_HTTP_PORT={platform}", f"AIP_PREDICT_ROUTE={PREDICT}"]
    check = config["Healthcheck"]["Test"][1].split()
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    started = time.monotonic()
    inside = ["sh", "-ec", CONTAINER, "sh", str(root), *variables, *config["Entrypoint"]]
    running = subprocess.Popen([*namespaces, *inside])
    try:
        while not ((server := child(running.pid)) and healthy(server, variables, check)):
            if running.poll() is not None:
                raise Failed(f"ended, exit status {running.returncode}")
            if time.monotonic() - started > START_S:
                raise Failed(f"not healthy after {START_S} s")
            time.sleep(1)
        say(began, f"healthy {time.monotonic() - started:.0f} s after its start")
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{server}/status").read_text().splitlines()
        )
        expect("user", status["Uid"].split(), ["1000"] * 4)
        for rights in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            expect(rights, int(status[rights], 16), 0)
        mounts = Path(f"/proc/{server}/mounts").read_text().splitlines()
        expect("root", [line.split()[3].split(",")[0] for line in mounts if " / " in line], ["ro"])

        page, shown = next(iter(json.loads((SAMPLES / "pages.json").read_text()).items()))
        labels = sorted(box["class"] for box in shown["boxes"])
        found = answer(ports["HTTP_PORT"], "document_detector", page)["labels"]
        expect(page, sorted([found] if isinstance(found, str) else found), labels)
        captcha, digits = next(iter(json.loads((SAMPLES / "captchas.json").read_text()).items()))
        expect(captcha, answer(ports["HTTP_PORT"], "captcha_reader", captcha)["text"], digits)
        say(began, f"{page}: {', '.join(labels)}; {captcha}: {digits}")
        if "COUNTERSIGN_NO_GATEWAY=1" not in config["Env"]:
            (marks,) = predicted(platform, page)
            expect(PREDICT, sorted(each["class"] for each in marks["detections"]), labels)
            say(began, f"{PREDICT}: the same")

        told = time.monotonic()
        os.kill(server, signal.SIGTERM)
        try:
            expect("exit status", running.wait(STOP_S), 0)
        except subprocess.TimeoutExpired:
            raise Failed(f"still there {STOP_S} s after SIGTERM") from None
        say(began, f"ended {time.monotonic() - told:.1f} s after SIGTERM, exit status 0")
    finally:
        running.kill()
        running.wait()


def say(began: float, line: str) -> None:
    print(f"{time.monotonic() - began:4.0f} s  {line}", flush=True)


def main() -> int:
    description, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--file", default="docker/pypi.Dockerfile", help="docker/one.Dockerfile is the other"
    )
    parser.add_argument(
        "--base", type=Path, help="a folder with Debian bookworm and Python, in place of a new one"
    )
    settings, passed_on = parser.parse_known_args()
    began = time.monotonic()
    work = Path(tempfile.mkdtemp(suffix="-countersign"))
    buildah = Buildah(work)
    bud = ["bud", "--isolation", "chroot", "--network", "host", "--format", "docker"]
    try:
        base = settings.base or work / "base"
        if settings.base is None:
            debian(base)
        (work / "Dockerfile").write_text("FROM scratch\nADD . /\n")
        buildah(*bud, "-f", work / "Dockerfile", "-t", "bookworm", base)
        base_mb = size_mb(base)
        say(began, f"the base: {base_mb:.0f} MB")
        file = ["-f", settings.file, "--build-arg", "BASE=localhost/bookworm"]
        buildah(*bud, *file, "-t", "countersign", *passed_on, ".")
        config = json.loads(buildah("inspect", "--type", "image", "countersign"))["Docker"][
            "config"
        ]
        container = buildah("from", "countersign")
        root = Path(buildah("mount", container))
        all_mb = size_mb(root)
        say(began, f"the image: {all_mb:.0f} MB, {all_mb - base_mb:.0f} MB over the base")
        for part_mb, name in largest(root):
            print(f"{part_mb:12.1f} MB  {name}")
        attempt(root, config, began)
        buildah("rm", container)
    except (Failed, subprocess.CalledProcessError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
