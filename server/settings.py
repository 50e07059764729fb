"""What the server is started with, and what each setting may be."""

import argparse
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from server.cores import usable_cores

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = Path(__file__).resolve().parent / "samples"
PORTS = ("http_port", "grpc_port", "metrics_port")
GATEWAY_PORT = "gateway_port"
PLATFORM = {"gateway_port": "AIP_HTTP_PORT"}  # how platforms that run one container call it
TRACES = re.compile(r"http://(?P<host>[\w.-]+):(?P<port>\d{1,5})/[\w./-]*", re.ASCII)
SWITCH = {"1": True, "true": True, "yes": True, "on": True} | {
    "": False, "0": False, "false": False, "no": False, "off": False
}  # fmt: skip


class ServerError(RuntimeError):
    """The server cannot run here as asked; the text says what stands in the way."""


class ModelError(ServerError):
    """Models cannot be served as they are. `blamed` names them, or ensembles that they are in."""

    def __init__(self, text: str, blamed: Iterable[str]) -> None:
        super().__init__(text)
        self.blamed = tuple(blamed)


def option(
    default: Any,
    text: str,
    limits: tuple[float, float] | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """A field of Settings: its help, the least and largest number, or the words that it takes."""
    return field(default=default, metadata={"help": text, "limits": limits, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """Each field is an option of `python -m server` and a COUNTERSIGN_* variable.

    Raises ServerError with the option's name, value and limit if a value is none that it takes.
    """

    repository: Path = option(
        ROOT / "model_repository",
        "model repository to serve: a folder; or the URL where export.publish has put one, as "
        "s3://BUCKET/FOLDER, of which @sha256:DIGEST behind it names one for good",
    )
    published: str = ""  # that URL, in the place of a folder
    repository_cache: Path | None = option(
        None,
        "folder for the repository of a URL, whose last good one is served while the storage is "
        "away; unless given, a temporary one, gone with the server",
    )
    repository_key: Path | None = option(
        None, "PEM file of Ed25519 public keys; the repository of a URL must be signed by one"
    )
    repository_poll_s: float = option(
        30, "seconds between looks at a URL; 0 for none but those of a reload", (0, 86400)
    )
    held: Path | None = option(
        None,
        "file of versions that are not to be served, which roll-outs write; unless given, "
        "held.json in the repository",
    )
    triton: Path | None = option(
        None,
        "folder of a tritonserver with its backends, as NVIDIA's images have one; unless given, "
        "that of the wheel nvidia-pytriton",
    )
    samples: Path = option(
        SAMPLES,
        "folder of files and what they show: pages.json, captchas.json; ready means that the first "
        "ones are found. A list that is missing asks for an answer alone",
    )
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 is every interface")
    http_port: int = option(8000, "HTTP port; 0 takes any free one, as for the others", (0, 65535))
    grpc_port: int = option(8001, "gRPC port", (0, 65535))
    metrics_port: int = option(8002, "port of the Prometheus metrics", (0, 65535))
    gateway_port: int = option(
        8080, "port of the gateway: REST, documents, forms, the web page", (0, 65535)
    )
    no_gateway: bool = option(
        False, "leave out the gateway; with TLS it is left out, and runs alone: docs/gateway.md"
    )
    keys: Path | None = option(
        None,
        "file of the keys that clients need, which countersign-keys writes; unless given, whoever "
        "reaches the server may ask",
    )
    allow_anyone: bool = option(
        False, "let everybody ask who reaches --host, be it other machines, without a key"
    )
    tls_cert: Path | None = option(
        None, "PEM file of the certificate, and those between it and its authority, for TLS"
    )
    tls_key: Path | None = option(None, "PEM file of its private key, without a passphrase")
    tls_client_ca: Path | None = option(
        None, "PEM file of the authorities of which clients need a certificate"
    )
    max_image_bytes: int = option(32 * 2**20, "largest image file, in bytes", (1024, 2**30))
    max_image_pixels: int = option(
        100_000_000, "largest width x height that is decoded", (1024, 2**31 - 1)
    )
    image_timeout_s: int = option(
        20,
        "seconds in which a step must have read an image; a process that takes longer hangs, and "
        "is ended and replaced",
        (1, 3600),
    )
    ready_timeout_s: float = option(
        120, "seconds until every model must have answered its sample", (1, 3600)
    )
    exit_timeout_s: int = option(
        30, "seconds that requests in flight get to finish at exit", (0, 3600)
    )
    threads: int = option(
        usable_cores(),
        "CPU threads of each OpenVINO model that sets none itself, and half as many processes "
        "decode pages; unless given, the cores that affinity and the CPU quota allow",
        (1, 1024),
    )
    replicas: int = option(
        1,
        "tritonservers, each with its share of the threads; others answer while one is replaced",
        (1, 64),
    )
    replica_memory_mib: int = option(
        0,
        "MiB above which a replica is replaced, as one that leaks; 0 for what the other limits can "
        "need (server/memory.py)",
        (0, 2**24),
    )
    precision: str = option(
        "",
        "f32 for the same answers on every CPU; left out, bf16 where the CPU has it",
        choices=("", "f32", "bf16", "f16"),
    )
    log_requests: bool = option(False, "write a line of JSON to stdout for each request")
    traces: str = option(
        "",
        "URL of an OpenTelemetry collector that gets spans of each request from gateway, front and "
        "tritonserver, by OTLP over HTTP: http://HOST:4318/v1/traces",
    )
    verbose: bool = option(False, "show all that tritonserver logs, not only warnings and errors")

    def __post_init__(self) -> None:
        for setting in options():
            check(setting, getattr(self, setting.name))
        if self.repository_key and not self.published:
            raise ServerError("--repository-key: the repository is a folder, which is not signed")
        taken: dict[int, str] = {}
        for name in (*PORTS, GATEWAY_PORT):
            port = getattr(self, name)
            if port and port in taken:
                raise ServerError(
                    f"{flag(name)}: {port}, which is {flag(taken[port])} too; 0 takes any free port"
                )
            taken[port] = name
        if self.traces and not TRACES.fullmatch(self.traces):
            raise ServerError(f"--traces: {self.traces!r}, expected http://HOST:PORT/PATH")
        try:
            socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no host's name"
            raise ServerError(f"--host: {self.host!r}: {reason}") from None


def options() -> list[Field]:
    """The fields of Settings that are options."""
    return [setting for setting in fields(Settings) if setting.metadata]


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment's name of a setting."""
    return f"COUNTERSIGN_{name.upper()}"


def check(setting: Field, value: Any) -> None:
    """Raises ServerError unless `value` is one that the setting takes."""
    limits, choices = setting.metadata["limits"], setting.metadata["choices"]
    if limits and not limits[0] <= value <= limits[1]:  # refuses NaN as well
        least, largest = (f"{limit:.0f}" for limit in limits)
        raise ServerError(f"{flag(setting.name)}: {value}, limit {least} to {largest}")
    if choices and value not in choices:
        words = ", ".join(word or "nothing" for word in choices)
        raise ServerError(f"{flag(setting.name)}: {value!r}, expected {words}")


def read(setting: Field, text: str, name: str) -> Any:
    """The value that `text` of the option or variable `name` stands for. Raises ServerError."""
    kind: Any = Path if setting.type == Path | None else setting.type
    try:
        return SWITCH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        expected = {bool: "1 or 0", int: "a whole number", float: "a number"}[kind]
        raise ServerError(f"{name}: {text!r}, expected {expected}") from None


def parse(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Command line over COUNTERSIGN_* variables over the defaults of Settings.

    Raises ServerError for a value that is none of its setting's.
    """
    parser = argparse.ArgumentParser(
        prog="python -m server",
        description="Serves the model repository in the foreground until SIGTERM or Ctrl-C.",
        epilog="Each option is also read from the environment: COUNTERSIGN_HTTP_PORT=8010.",
        allow_abbrev=False,
    )
    for setting in options():
        words = f"{setting.metadata['help']} (default: {setting.default})".replace("%", "%%")
        if setting.type is bool:
            parser.add_argument(
                flag(setting.name), nargs="?", const="1", help=words, metavar="1 or 0"
            )
        else:
            parser.add_argument(flag(setting.name), help=words, metavar="VALUE")
    given = vars(parser.parse_args(argv))
    values: dict[str, Any] = {}
    for setting in options():
        name, text = flag(setting.name), given[setting.name]
        for other in (variable(setting.name), PLATFORM.get(setting.name, "")):
            if text is None:
                name, text = other, environment.get(other)
        if text is None:
            continue
        if setting.name == "repository" and "://" in text:
            values["published"] = text
        else:
            values[setting.name] = read(setting, text, name)
    return Settings(**values)
