"""No password and no key is left of a URL or a command line, and all the rest is."""

from __future__ import annotations

import json
import shlex
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from autotune.deploy_yaml import DeploymentFile
from autotune.redaction import redacted, redacted_command
from tests.deployment_example import example_file

PASSWORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1).map(lambda text: f"5EC{text}RET")


@given(PASSWORDS, PASSWORDS, st.sampled_from(["password", "sslpassword", "access_token", "api-key", "X-Amz-Signature"]))
def test_only_the_secrets_of_a_url_are_hidden(one: str, other: str, name: str) -> None:
    url = "postgresql://u:{}@h:5432/d?user=a@b&{}={}&sslmode=require"
    shown = redacted(url.format(quote(one, safe=""), name, quote(other, safe="")))
    assert shown == url.format("***", name, "***")
    assert redacted(shown) == shown


@given(PASSWORDS)
def test_a_password_that_is_not_encoded_leaves_nothing(password: str) -> None:
    assert "RET" not in redacted(f"postgresql://u:{password}@h/d")
    command = shlex.join(["autotune", "--storage", f"postgresql://u:{password}@h/d", f"--api-key={password}"])
    assert "RET" not in redacted_command(command)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("autotune --storage postgresql://u:x@h/d", "autotune --storage 'postgresql://u:***@h/d'"),
        ("autotune --storage=postgresql://h/d?password=x", "autotune '--storage=postgresql://h/d?password=***'"),
        ("autotune load ws://h/?token=x --seed 1", "autotune load 'ws://h/?token=***' --seed 1"),
        ("autotune load http://h --api-key x --out r", "autotune load http://h --api-key '***' --out r"),
        ("autotune --storage 'host=h password=x dbname=d'", "autotune --storage 'host=h password=***'"),
        ('autotune "--storage postgresql://u:x@h/d', 'autotune "--storage postgresql://u:***@h/d'),
    ],
)
def test_a_command_shows_that_it_was_redacted(command: str, shown: str) -> None:
    assert redacted_command(command) == shown


@pytest.mark.parametrize(
    "command",
    [
        "autotune load http://localhost:8000 --api-key-file key.txt --slo p95_latency_s=2",
        "autotune --storage postgresql://u@h1:1,h2:2/d?sslmode=require  --audio '/data/key=1/my calls'",
    ],
)
def test_a_command_without_secrets_stays_as_it_is(command: str) -> None:
    assert redacted_command(command) == command


def test_a_file_from_before_is_redacted_when_it_is_read() -> None:
    data = json.loads(example_file().model_dump_json(by_alias=True))
    data["provenance"]["command"] = "autotune --storage postgresql://u:x@h/d"
    document = DeploymentFile.model_validate_json(json.dumps(data))
    assert document.provenance.command == "autotune --storage 'postgresql://u:***@h/d'"
    assert "u:x@" not in yaml.safe_dump(document.to_json())
