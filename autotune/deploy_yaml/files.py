"""Reading and writing ``deploy.yaml``: commented, lossless, atomic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from autotune.baselines import Compared, compared
from autotune.deploy_yaml.comments import comment_for
from autotune.deploy_yaml.document import SCHEMA, DeploymentFile
from autotune.documents import parse_document, read_yaml, suggest
from autotune.errors import DocumentError
from autotune.files import write_output

__all__ = ["read_deployment_file", "schema_text", "write_deployment_file", "yaml_text"]

HEADER = "# Written by autotune. Load it with autotune.load, render it for other servers, or plan capacity with it.\n"


def write_deployment_file(path: Path, document: DeploymentFile) -> None:
    """Write ``document`` as commented YAML: the old file or the new one is there, never a part.

    Raises:
        DocumentError: it cannot be written; what was there before is unchanged.
    """
    try:
        write_output(path, yaml_text(document).encode())
    except DocumentError as error:
        raise DocumentError(f"{error} Finished trials stay in the study and are not measured again.") from error


def read_deployment_file(path: Path) -> DeploymentFile:
    """Read a ``deploy.yaml``.

    Raises:
        DocumentError: not readable, another schema version, or wrong content: file, key and a suggestion.
    """
    data = read_yaml(path)
    if isinstance(data, dict):
        _check_schema(data, path)
    return parse_document(data, DeploymentFile, where=str(path))


def yaml_text(document: DeploymentFile) -> str:
    """The YAML with a comment for each choice."""
    names = compared(document.baseline.deployment)
    return HEADER + "\n".join(_lines(document.to_json(), names, path="", indent="")) + "\n"


def schema_text() -> str:
    """The JSON Schema of ``deploy.yaml``, published as ``docs/schemas/deployment-v1.json``."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= DeploymentFile.model_json_schema(by_alias=True)
    schema["required"] = ["schema", *schema["required"]]
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _check_schema(data: dict[Any, Any], path: Path) -> None:
    if "schema" not in data:
        near = suggest("schema", [str(key) for key in data])
        hint = f" {near}" if near.startswith("Did you mean") else ""
        raise DocumentError(f'{path}: "schema" must be "{SCHEMA}", but is missing.{hint}')
    if data["schema"] != SCHEMA:
        raise DocumentError(
            f'{path}: "schema" must be "{SCHEMA}", the only version that this autotune reads, '
            f"but got {data['schema']!r}. Read it with the autotune that wrote it, or tune again."
        )


def _lines(data: dict[str, Any], names: Compared, *, path: str, indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in data.items():
        where = f"{path}.{key}" if path else key
        comment = comment_for(where, value, names)
        if isinstance(value, dict) and value:
            lines.append(_commented(f"{indent}{_scalar(key)}:", comment))
            lines += _lines(value, names, path=where, indent=indent + "  ")
            continue
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(_commented(f"{indent}{_scalar(key)}:", comment))
            lines += [f"{indent}  - {_scalar(entry)}" for entry in value]
            continue
        lines.append(_commented(f"{indent}{_scalar(key)}: {_scalar(value)}", comment))
    return lines


class _OneLineDumper(yaml.SafeDumper):
    """Keeps every value in one line, so that a comment can follow it."""


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Line breaks and control characters survive only as escapes of the double-quoted style.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_OneLineDumper.add_representer(str, _represent_str)


def _scalar(value: Any) -> str:
    """One line of YAML: a scalar, or a collection in flow style."""
    text: str = yaml.dump(
        value,
        Dumper=_OneLineDumper,
        allow_unicode=True,
        width=float("inf"),
        default_flow_style=True,
        sort_keys=False,
    )
    return text.removesuffix("...\n").rstrip("\n")


def _commented(line: str, comment: str | None) -> str:
    return line if comment is None else f"{line}  # {comment}"
