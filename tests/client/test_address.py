"""Where a URL leads, and what goes along."""

import pytest

from countersign import AsyncClient, Client, Tls
from countersign.address import address


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("COUNTERSIGN_URL", "COUNTERSIGN_KEY", "COUNTERSIGN_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "protocol", "expected", "endpoint"),
    [
        (None, None, ("grpc", "127.0.0.1:8001", False), ("127.0.0.1", 8001)),
        (None, "http", ("http", "127.0.0.1:8000", False), ("127.0.0.1", 8000)),
        ("bank.example:9", None, ("grpc", "bank.example:9", False), ("bank.example", 9)),
        ("bank.example", "http", ("http", "bank.example:8000", False), ("bank.example", 8000)),
        ("grpc://host", None, ("grpc", "host:8001", False), ("host", 8001)),
        ("grpcs://host:443/", None, ("grpc", "host:443", True), ("host", 443)),
        ("http://host", "http", ("http", "host:8000", False), ("host", 8000)),
        ("https://[::1]:7", None, ("http", "[::1]:7", True), ("::1", 7)),
        ("[fe80::1]", None, ("grpc", "[fe80::1]:8001", False), ("fe80::1", 8001)),
        ("dns:///host", None, ("grpc", "host:8001", False), ("host", 8001)),
        ("grpcs+dns:///host:9", None, ("grpc", "host:9", True), ("host", 9)),
    ],
)
def test_a_url_names_protocol_host_port_and_encryption(url, protocol, expected, endpoint):
    found = address(url, protocol)
    assert (found.protocol, found.netloc, found.tls is not None) == expected
    assert found.endpoint == endpoint


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host", "host:port", "host:99999", "::1", "::1:8001", "http://", "host/path",
     "http://host:1/v2", "me:secret@host:1", "two words:1", "host:1?x=1", "dns://host:1",
     "dns:///", "dns://two words/host:1", "dns:///host:1/v2"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_any_other_url_is_refused_by_name(kind, url):
    with pytest.raises(ValueError, match=r"^url: .*, expected \[grpc\|grpcs\|http\|https://\]HOST"):
        kind(url)


def test_a_name_whose_addresses_take_turns_is_grpcs_own():
    assert address("dns:///host").target == "dns:///host:8001"
    assert address("dns://10.0.0.2:53/host:1").target == "dns://10.0.0.2:53/host:1"
    assert address("dns:///host", tls=Tls("ca.pem")).tls == Tls("ca.pem")
    assert address("host").target == "host:8001"


def test_what_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="url: 'dns:///host' contradicts protocol http"):
        address("dns:///host", "http")
    with pytest.raises(ValueError, match="url: 'http://host' contradicts protocol grpc"):
        address("http://host", "grpc")
    with pytest.raises(ValueError, match="url: 'http://host' contradicts TLS, expected https://"):
        address("http://host", tls=Tls())
    with pytest.raises(ValueError, match="protocol: 'tcp', expected grpc or http"):
        address("host", "tcp")


def test_the_url_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("COUNTERSIGN_URL", "https://host:5")
    assert address(None).netloc == "host:5"
    assert address("other").netloc == "other:8001"


def test_a_key_is_the_callers_then_the_environments_then_the_files(monkeypatch, tmp_path):
    def authorization(key=None):
        return address("host", key=key).headers.get("authorization")

    assert authorization() is None
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("COUNTERSIGN_KEY_FILE", str(tmp_path / "key"))
    assert authorization() == "Bearer from-file"
    monkeypatch.setenv("COUNTERSIGN_KEY", "from-variable")
    assert authorization() == "Bearer from-variable"
    assert authorization("given") == "Bearer given"


@pytest.mark.parametrize("key", ["", " ", "two words", "line\nbreak", "clé", "nul\0"])
def test_a_key_that_is_none_is_refused_and_not_shown(key, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"^key: no key, expected one word") as raised:
        address("host", key=key)
    assert not key.strip() or key not in str(raised.value)
    (tmp_path / "key").write_text(key)
    monkeypatch.setenv("COUNTERSIGN_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ValueError, match="key: no key, expected one word"):
        address("host")


def test_a_key_file_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("COUNTERSIGN_KEY_FILE", "/nowhere/key")
    with pytest.raises(FileNotFoundError, match="/nowhere/key"):
        Client("host")


def test_a_key_stands_in_no_description():
    assert "secret" not in repr(address("host", key="secret"))


def test_a_header_that_is_none_is_refused_by_name():
    for headers in ({"a b": "c"}, {"": "c"}, {"a": "new\nline"}, {"a": "é"}):
        with pytest.raises(ValueError, match=r"^headers: "):
            address("host", headers=headers)
