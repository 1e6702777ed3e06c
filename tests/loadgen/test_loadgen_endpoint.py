"""Addresses as people write them."""

import pytest

from autotune.errors import DocumentError
from autotune.loadgen.client import endpoint


@pytest.mark.parametrize(
    ("url", "paced", "address", "protocol"),
    [
        ("http://here:8000", False, "http://here:8000/v1/audio/transcriptions", "http"),
        ("http://here:8000/", False, "http://here:8000/v1/audio/transcriptions", "http"),
        ("https://here/v1", False, "https://here/v1/audio/transcriptions", "http"),
        ("https://here/v1/", False, "https://here/v1/audio/transcriptions", "http"),
        ("http://here/openai/audio/transcriptions", False, "http://here/openai/audio/transcriptions", "http"),
        ("http://here:8000", True, "ws://here:8000/", "websocket"),
        ("https://here/v1", True, "wss://here/", "websocket"),
        ("ws://here:10095", True, "ws://here:10095/", "websocket"),
        ("wss://here:10095/asr?x=1", False, "wss://here:10095/asr?x=1", "websocket"),
    ],
)
def test_an_address_means_a_protocol(url: str, paced: bool, address: str, protocol: str) -> None:
    found = endpoint(url, paced=paced)
    assert (found.url, found.protocol) == (address, protocol)
    assert found.encrypted == (found.url.startswith(("https", "wss")))


@pytest.mark.parametrize("url", ["here:8000", "ftp://here", "http://", "localhost", "", "http://here:port", "http://["])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(DocumentError, match="URL must be"):
        endpoint(url, paced=False)


def test_a_password_does_not_belong_there() -> None:
    with pytest.raises(DocumentError, match="--api-key-file") as caught:
        endpoint("http://me:secret@here", paced=False)
    assert "secret" not in str(caught.value)
    with pytest.raises(DocumentError, match=r"ftp://me:\*\*\*@here/\?token=\*\*\*'"):
        endpoint("ftp://me:secret@here/?token=secret", paced=False)


def test_addresses_of_this_machine_are_known() -> None:
    assert endpoint("http://localhost:1", paced=False).local
    assert endpoint("ws://127.0.0.1:1", paced=False).local
    assert not endpoint("http://example.org", paced=False).local
