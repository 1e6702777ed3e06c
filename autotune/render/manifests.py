"""YAML manifests as text: literal blocks, no anchors."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["manifest_text"]


def manifest_text(manifest: dict[str, Any]) -> str:
    """The mapping as YAML in its own order; texts of several lines become literal blocks."""
    text: str = yaml.dump(manifest, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=float("inf"))
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_str)
