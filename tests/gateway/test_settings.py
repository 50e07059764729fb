"""What the gateway may be started with."""

import pytest

from gateway.settings import SettingsError, parse


def test_an_option_goes_before_a_variable_and_that_before_the_servers():
    environment = {
        "COUNTERSIGN_GATEWAY_PORT": "81",
        "COUNTERSIGN_MAX_IMAGE_BYTES": "5000",
        "COUNTERSIGN_HOST": "0.0.0.0",  # the server's alone
    }
    assert parse([], {}).port == 8080
    assert parse([], environment).port == 81
    found = parse(["--port", "82", "--triton", "a:1, grpcs://b"], environment)
    assert (found.port, found.max_image_bytes, found.host) == (82, 5000, "127.0.0.1")
    assert found.tritons == ["a:1", "grpcs://b"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--port", "70000"], r"--port: '70000': .*65535"),
        (["--dpi", "1"], r"--dpi: '1': .*18"),
        (["--timeout-s", "nan"], "--timeout-s: 'nan'"),
        (["--triton", "ftp://a"], "--triton: 'ftp://a': url"),
        (["--host", "0.0.0.0"], "open to other machines"),
        (["--allow-anyone", "maybe"], "--allow-anyone: 'maybe'"),
    ],
)
def test_a_value_that_is_none_is_told_with_its_limit(options, words):
    with pytest.raises(SettingsError, match=words):
        parse(options, {})


def test_other_machines_are_let_in_with_keys_or_when_meant():
    for option in (["--allow-anyone"], ["--keyed"], ["--keys", "keys.json"]):
        assert parse(["--host", "0.0.0.0", *option], {}).host == "0.0.0.0"
