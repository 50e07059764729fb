"""What the gateway is started with, and what each setting may be."""

import argparse
import ipaddress
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from countersign.address import address
from countersign.pages import Bounds
from countersign.pdf import DPI
from gateway.log.database import parsed
from gateway.log.retention import period
from gateway.log.review import RANDOM_SHARE

PLATFORM = {  # how platforms that run one container call some of them
    "port": "AIP_HTTP_PORT",
    "predict_route": "AIP_PREDICT_ROUTE",
    "health_route": "AIP_HEALTH_ROUTE",
}
SHARED = (
    "log_requests",
    "traces",
    "max_image_bytes",
    "max_image_pixels",
    "allow_anyone",
    "exit_timeout_s",
    "keys",
)
ROUTE = r"^(/[A-Za-z0-9_.~:-]+)+$"
SECRET = ("log_url",)  # whose value is never shown
LOOPBACK = "localhost"


class SettingsError(RuntimeError):
    """The gateway cannot run here as asked; the text names the setting, its value and the limit."""


def option(default: Any, text: str, **limits: Any) -> Any:
    """A field of Settings: its help, and what pydantic holds its value to."""
    return Field(default, description=text, **limits)


class Settings(BaseModel):
    """Each field is an option of `python -m gateway` and a COUNTERSIGN_GATEWAY_* variable.

    Those of SHARED are read from the server's COUNTERSIGN_* variables too, those of PLATFORM from
    a platform's. Raises SettingsError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    triton: Annotated[
        str,
        option(
            "127.0.0.1:8001",
            "the servers that hold the models, [grpc|grpcs|http|https://]HOST[:PORT], with commas; "
            "each page goes to the one with the fewest under way. With [grpcs+]dns:///HOST[:PORT] "
            "all addresses of HOST take turns",
        ),
    ]
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 is every interface")
    port: int = option(8080, "port; 0 takes any free one", ge=0, le=65535)
    predict_route: str = option(
        "/invocations",
        'path of POST {"instances": [{"image": {"b64": ...}}]}, as platforms ask: '
        "docs/platforms.md; AIP_PREDICT_ROUTE says it too, AIP_HEALTH_ROUTE and AIP_HTTP_PORT the "
        "others",
        pattern=ROUTE,
    )
    health_route: str = option("/ping", "path of GET, 200 once pages are answered", pattern=ROUTE)
    allow_anyone: bool = option(
        False, "listen for other machines, though the servers ask no key of them"
    )
    keys: Path | None = option(
        None,
        "the servers' file of keys: their names go into the log, and it says who may read that",
    )
    keyed: bool = option(
        False, "the servers ask for keys: a request without one is refused before it is read"
    )
    tls_cert: Path | None = option(
        None, "PEM file of the certificate, and those between it and its authority, for HTTPS"
    )
    tls_key: Path | None = option(None, "PEM file of its private key, without a passphrase")
    triton_ca: Path | None = option(
        None, "PEM file of the authorities that the servers' certificates are trusted by"
    )
    max_document_bytes: int = option(100 * 2**20, "largest document, in bytes", ge=1024, le=2**30)
    max_image_bytes: int = option(
        32 * 2**20, "largest image of a page, in bytes, as the servers have it", ge=1024, le=2**30
    )
    max_image_pixels: int = option(
        100_000_000,
        "largest width x height of a page, as the servers have it",
        ge=1024,
        le=2**31 - 1,
    )
    max_pages: int = option(2000, "most pages of a document", ge=1, le=100_000)
    dpi: int = option(DPI, "pixels an inch at which pages of a PDF are drawn", ge=18, le=600)
    pdf_processes: int = option(
        4,
        "PDFs that are read at a time, each in a process of its own",
        ge=1,
        le=64,
    )
    pdf_page_s: float = option(
        10, "seconds that drawing a page may take before it is given up", gt=0, le=600
    )
    max_held_bytes: int = option(
        2**30, "most bytes of all uploads that are held at a time", ge=2**20, le=2**40
    )
    forms: Path = option(Path("forms"), "folder of forms, NAME.yaml with their blank pages")
    at_once: int = option(
        0, "most pages under way at the servers; 0 for 16 a core of this machine", ge=0, le=4096
    )
    document_pages_at_once: int = option(
        4, "most pages of one document under way at the servers", ge=1, le=256
    )
    max_wait_s: float = option(
        2,
        "a request that would wait longer than this many seconds, by the rate of late, is refused "
        "at once with 429",
        gt=0,
        le=600,
    )
    log: bool = option(True, "keep a log of what was answered about which file")
    data: Path = option(Path("data"), "folder of the log, if it is in SQLite")
    log_url: SecretStr = option(
        SecretStr(""),
        "the log's database instead: postgresql://USER:PASSWORD@HOST/DATABASE; better as variable, "
        "which other users of the machine do not see",
    )
    store: Path | None = option(None, "folder to keep the files themselves in, for this user alone")
    retention: str = option(
        "", "days or hours after which the log and the store forget an answer, as 90d; else never"
    )
    random_share: float = option(
        RANDOM_SHARE, "of all pages that go into the review queue at random", ge=0, le=1
    )
    log_requests: bool = option(False, "write a line of JSON to stdout for each request")
    traces: str = option(
        "",
        "URL of an OpenTelemetry collector that gets a span of each request, by OTLP over HTTP: "
        "http://HOST:4318/v1/traces",
        pattern=r"^(https?://[^/?#@\s]+/\S*)?$",
    )
    timeout_s: float = option(30, "seconds that a page may take", gt=0, le=3600)
    document_timeout_s: float = option(
        900, "seconds that a document may take, after which its other pages are given up", gt=0
    )
    exit_timeout_s: int = option(
        30, "seconds that requests under way get to end at exit", ge=0, le=3600
    )

    @field_validator("triton")
    @classmethod
    def _addresses(cls, text: str) -> str:
        for each in text.split(","):
            address(each.strip(), key="none")  # ValueError says what is wrong
        return text

    @field_validator("log_url")
    @classmethod
    def _database(cls, url: SecretStr) -> SecretStr:
        if text := url.get_secret_value():
            parsed(text)  # ValueError says what is wrong, and no more
        return url

    @field_validator("retention")
    @classmethod
    def _period(cls, text: str) -> str:
        if text:
            period(text)
        return text

    @model_validator(mode="after")
    def _certificate(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key: one without the other")
        return self

    @model_validator(mode="after")
    def _who_may_ask(self) -> "Settings":
        if not (self.allow_anyone or self.asks_for_keys or is_loopback(self.host)):
            raise ValueError(
                f"--host: {self.host} is open to other machines; --keyed says that the servers ask "
                "for keys, --allow-anyone that everybody may ask"
            )
        return self

    @property
    def keep(self) -> timedelta | None:
        """How long the log keeps what it knows, None for ever."""
        return period(self.retention) if self.retention else None

    @property
    def tritons(self) -> list[str]:
        """The servers' URLs."""
        return [each.strip() for each in self.triton.split(",")]

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request without a key is refused."""
        return self.keyed or self.keys is not None

    @property
    def bounds(self) -> Bounds:
        """What a document may take."""
        return Bounds(
            self.max_document_bytes, self.max_pages, self.max_image_pixels, self.pdf_page_s
        )

    @property
    def pages_at_once(self) -> int:
        """Most pages under way at the servers."""
        return self.at_once or 16 * (os.cpu_count() or 1)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == LOOPBACK


def flag(name: str) -> str:
    """The command line's name of a setting."""
    return "--" + name.replace("_", "-")


def variables(name: str) -> list[str]:
    """The environment's names of a setting, the first goes first."""
    others = [f"COUNTERSIGN_{name.upper()}"] if name in SHARED else []
    others += [PLATFORM[name]] if name in PLATFORM else []
    return [f"COUNTERSIGN_GATEWAY_{name.upper()}", *others]


def parse(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Command line over variables over the defaults of Settings. Raises SettingsError."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="Answers for documents over HTTP, in the foreground until SIGTERM or Ctrl-C.",
        epilog="Each option is also read from the environment: COUNTERSIGN_GATEWAY_PORT=8081.",
        allow_abbrev=False,
    )
    for name, field in Settings.model_fields.items():
        shown = f"{field.description} (default: {field.default})".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag(name), nargs="?", const="1", help=shown, metavar="1 or 0")
        else:
            parser.add_argument(flag(name), help=shown, metavar="VALUE")
    values = {name: text for name, text in vars(parser.parse_args(argv)).items() if text}
    for name in Settings.model_fields:
        for variable in variables(name):
            if environment.get(variable):
                values.setdefault(name, environment[variable])
    return settings_of(values)


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Settings of texts or values. Raises SettingsError that names the first that is none."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise SettingsError(reason) from None
        name = str(first["loc"][0])
        value = "" if name in SECRET else f" {first['input']!r}:"
        raise SettingsError(f"{flag(name)}:{value} {reason}") from None
