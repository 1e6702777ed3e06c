"""Tasks that make a model ready: write a random one, look into one, download one. Child processes only."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import ModelError
from autotune.model_directory import ModelDirectory
from autotune.models.given import inspect_given
from autotune.models.hub import SUPPORTED_ALIASES, check_supported

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["download_task", "inspect_task", "write_random_task"]


_HUB_WAIT_S = 5.0


def inspect_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Read the weights of ``payload["path"]`` strictly; returns ``parameters``. Raises ModelError."""
    from autotune.engines.network import build_network, count_parameters

    emit("model", {"text": "reading the weights"})
    model = ModelDirectory.open(Path(payload["path"]))
    return {"parameters": inspect_given(model) if model.given else count_parameters(build_network(model))}


def write_random_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Write ``payload["preset"]`` with ``seed`` into the directory ``out`` and read it back; returns ``parameters``.

    Raises:
        ModelError: no such preset, or the disk is full.
    """
    from autotune.models.presets import write_preset

    emit("model", {"text": f"making random weights for {payload['preset']}"})
    out = Path(payload["out"])
    try:
        write_preset(payload["preset"], payload["seed"], out)
    except (OSError, RuntimeError) as error:
        raise ModelError(f"The random model must be writable to {out.parent}, but: {error}") from error
    return inspect_task({"path": str(out)}, emit)


def download_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """What FunASR's own download gives of the hub id or alias ``payload["id"]``; returns ``path`` and ``revision``.

    A model that the hub's cache holds is used as it is: nothing waits for a hub that can't be reached.

    Raises:
        ModelError: no such alias, the hub can't be reached, or doesn't have it.
    """
    from autotune.engines.funasr_import import skip_funasr_init

    skip_funasr_init()
    name: str = payload["id"]
    hub_id = name if "/" in name else _hub_id(name)
    if (kept := _kept(hub_id)) is not None:
        return {"path": str(kept), "revision": "master"}
    host = os.environ.get("MODELSCOPE_DOMAIN", "www.modelscope.cn").removeprefix("https://").strip("/")
    if not _reachable(host):
        # The hub's client would try for half a minute.
        raise ModelError(f"The model {name!r} must be downloaded from {host}, but it can't be reached.")
    from funasr.download.download_model_from_hub import get_or_download_model_dir

    emit("model", {"text": f"downloading {hub_id}"})
    try:
        path = get_or_download_model_dir(hub_id, "master", check_latest=False)
    except Exception as error:
        raise ModelError(f"The model {name!r} must be downloadable from {host}, but: {error}") from error
    return {"path": str(path), "revision": "master"}


def _hub_id(alias: str) -> str:
    """The hub's id for an alias of the installed FunASR. Raises ModelError for no alias, or an unsupported model's."""
    from funasr.download.name_maps_from_hub import name_maps_ms

    if alias not in name_maps_ms:
        raise ModelError(
            f"The model must be an alias of FunASR that works ({', '.join(SUPPORTED_ALIASES)}), or a hub id such as "
            f"iic/SenseVoiceSmall, but got {alias!r}."
        )
    check_supported(name_maps_ms[alias])
    return str(name_maps_ms[alias])


def _kept(hub_id: str) -> Path | None:
    """The directory of a model in ModelScope's cache; None where it isn't there, or not whole."""
    from modelscope.hub.snapshot_download import snapshot_download  # type: ignore[import-untyped]

    try:
        path = Path(snapshot_download(hub_id, revision="master", local_files_only=True))
        ModelDirectory.open(path)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is downloaded
        return None
    return path


def _reachable(host: str) -> bool:
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")):
        return True
    try:
        socket.create_connection((host, 443), timeout=_HUB_WAIT_S).close()
    except OSError:
        return False
    return True
