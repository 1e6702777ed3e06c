"""Rendering for systemd: ``autotune serve`` as a hardened service, within what was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass

from autotune.deploy_yaml import DeploymentFile, yaml_text
from autotune.errors import DocumentError
from autotune.redaction import API_KEY_VARIABLE
from autotune.render import serving
from autotune.render.rendering import Rendering, comments, one_line

__all__ = ["TARGET", "SystemdOptions", "render_systemd"]

TARGET = "systemd"

HARDENING = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "LockPersonality=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "UMask=0077",
)
"""Settings that confine the service, without MemoryDenyWriteExecute: runtimes write the code that they run."""

PRIVILEGED_PORTS = 1024


@dataclass(frozen=True, kw_only=True)
class SystemdOptions:
    """What a user can set for systemd."""

    program: str = "/usr/local/bin/autotune"
    """Absolute path of ``autotune``, installed with its extra ``serve``."""
    deployment: str = serving.DEPLOYMENT_PATH
    """Where the file is installed."""
    environment_file: str = "/etc/autotune/environment"
    """May set ``AUTOTUNE_API_KEY``; the service starts without it as well."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = serving.PORT
    no_key: bool = False
    """Start without a key as well on another address than this machine's own: then anyone who reaches it may ask."""


def render_systemd(document: DeploymentFile, options: SystemdOptions) -> Rendering:
    """``autotune.service`` and the ``deploy.yaml`` that it serves.

    Raises:
        DocumentError: an option is wrong.
    """
    serving.check_port(options.port)
    for name in ("program", "deployment", "environment_file"):
        path = getattr(options, name)
        if not path.startswith("/") or one_line(path) != path or not path.isprintable():
            raise DocumentError(f"{name} must be an absolute path, but got {path!r}.")
    if re.fullmatch(r"[\w.:-]+", options.host) is None:
        raise DocumentError(f'host must be a name or an address such as "127.0.0.1", but got {options.host!r}.')
    notes = _notes(document, options)
    lines = [
        "[Unit]",
        f"Description=autotune: {_escaped(one_line(document.model.id))}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        *_service(document, options),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    unit = comments(notes) + "\n".join(lines) + "\n"
    return Rendering(target=TARGET, files={"autotune.service": unit, "deploy.yaml": yaml_text(document)}, notes=notes)


def _service(document: DeploymentFile, options: SystemdOptions) -> list[str]:
    ports = "CAP_NET_BIND_SERVICE" if options.port < PRIVILEGED_PORTS else ""
    return [
        "Type=exec",
        f"ExecStart={_command(options)}",
        f"EnvironmentFile=-{_escaped(options.environment_file)}",
        f"Environment=XDG_CACHE_HOME={serving.CACHE_HOME} HOME={serving.CACHE_PATH}",
        "DynamicUser=yes",
        "CacheDirectory=autotune",
        "Restart=on-failure",
        "RestartSec=5",
        f"TimeoutStopSec={serving.STOP_S}",
        "LimitNOFILE=65536",
        f"MemoryMax={serving.memory_mib(document)}M",
        "MemorySwapMax=0",
        *_placement(document),
        f"AmbientCapabilities={ports}",
        f"CapabilityBoundingSet={ports}",
        *HARDENING,
        # A GPU is a device.
        *(["PrivateDevices=yes"] if document.deployment.device == "cpu" else []),
    ]


def _placement(document: DeploymentFile) -> list[str]:
    """Pinned instances take the first CPUs of those that they see: they must see the measured ones."""
    if not document.deployment.pinning:
        return []
    # systemd separates by spaces or commas; ranges as Linux lists them.
    cpus = serving.cpu_list(document)
    return [f"AllowedCPUs={cpus}", f"CPUAffinity={cpus}"]


def _command(options: SystemdOptions) -> str:
    """The command of ``ExecStart``, without specifiers, and without variables in its arguments."""
    words = serving.serve_arguments(options.deployment, host=options.host, port=options.port, no_key=options.no_key)
    return " ".join([_word(options.program), *(_word(word).replace("$", "$$") for word in words)])


def _word(text: str) -> str:
    """A word of a command for systemd, quoted where it must be, its specifiers escaped."""
    plain = re.fullmatch(r"[\w@%+=:,./$-]+", text) is not None
    return _escaped(text if plain else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')


def _escaped(text: str) -> str:
    """Text for a unit file, with systemd's specifiers (%) escaped."""
    return text.replace("%", "%%")


def _notes(document: DeploymentFile, options: SystemdOptions) -> tuple[str, ...]:
    notes = [
        f"Install deploy.yaml as {options.deployment}, this file as /etc/systemd/system/autotune.service, then: "
        "systemctl daemon-reload && systemctl enable --now autotune",
        serving.memory_note(document),
        *(
            f"{path} must be readable by every user: the service has one of its own."
            for path in serving.model_paths(document)
        ),
        *serving.export_note(document, serving.CACHE_PATH),
        f"{API_KEY_VARIABLE}=… in {options.environment_file} (mode 0600) asks for a key; without one, whoever is on "
        "this machine may ask, and another host than 127.0.0.1 is served with no_key alone.",
        serving.knee_note(document),
    ]
    if document.deployment.pinning:
        notes.append(f"CPUs {serving.cpu_list(document)}: those that it was measured on, pinned.")
    return tuple(notes)
