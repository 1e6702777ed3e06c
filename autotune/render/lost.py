"""What a server can't express: the lost choices as phrases, and the refusal that lists them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping

from autotune.deploy_yaml import DeploymentFile
from autotune.deployment import SILERO, Chunking, Deployment
from autotune.errors import DocumentError
from autotune.render.rendering import comments

__all__ = [
    "VAD_FRAGMENT",
    "lost_fsmn_chunking",
    "lost_graph",
    "lost_prompts",
    "lost_session_options",
    "plain",
    "refusal",
    "vad_checks",
    "vad_fragment",
    "vad_settings",
]


def lost_graph(deployment: Deployment, *, by: str) -> list[str]:
    """For servers that read the scores of FunASR's own export; ``by``: what reads them."""
    if deployment.graph in (None, "funasr"):
        return []
    return [f"graph: {deployment.graph} ({by} reads the scores of FunASR's own export)"]


def lost_fsmn_chunking(chunking: Chunking, *, always: bool = False) -> list[str]:
    """For servers that cut only by their FSMN VAD, with its settings and nothing added.

    Args:
        chunking: the measured one.
        always: the server can't do without.
    """
    if chunking.method == "none":
        return ["chunking.method: none (the server always cuts by its FSMN VAD)"] if always else []
    if chunking.method == "fixed":
        return [f"chunking.method: fixed, {chunking.describe()} (the server cuts only by its FSMN VAD)"]
    if chunking.method == "funasr":
        return ["chunking.method: funasr (measured with Silero VAD, the server has FSMN VAD)"]
    if chunking.vad_model == SILERO:
        return ["chunking.vad_model: silero (the server has FSMN VAD)"]
    lost = []
    if chunking.merge_s:
        lost.append(f"chunking.merge_s: {chunking.merge_s:g} (the server doesn't put segments together)")
    if chunking.pad_s:
        lost.append(f"chunking.pad_s: {chunking.pad_s:g} (the server adds nothing to its VAD's segments)")
    return lost


def lost_prompts(document: DeploymentFile, *, text_norm: str) -> list[str]:
    """For servers that always give SenseVoice the language ``auto`` and this text normalisation."""
    deployment = document.deployment
    if document.model.architecture != "SenseVoiceSmall":
        return []
    lost = []
    if deployment.language != "auto":
        lost.append(f"language: {deployment.language} (the server always asks for auto)")
    if deployment.text_norm != text_norm:
        lost.append(f"text_norm: {deployment.text_norm} (the server always asks for {text_norm})")
    return lost


def lost_session_options(
    deployment: Deployment, used: Mapping[str, str | bool], *, free: Collection[str] = ()
) -> list[str]:
    """For servers on ONNX Runtime.

    Args:
        deployment: the measured one.
        used: the options that the server sets, or leaves at ONNX Runtime's default, with their values.
        free: options that it can be given.
    """
    lost = []
    for key, value in deployment.session_options.items():
        if key in free or (key == "allow_spinning" and deployment.threads == deployment.instances):
            continue  # one thread has no pool whose threads could spin
        if key not in used:
            lost.append(f"session_options.{key}: {plain(value)} (the server has no such option)")
        elif value != used[key]:
            lost.append(f"session_options.{key}: {plain(value)} (the server uses {plain(used[key])})")
    return lost


def refusal(
    document: DeploymentFile,
    target: str,
    lost: list[str],
    *,
    hint: str = "",
    tune: str = "",
    profile: str | None = None,
) -> DocumentError:
    """Lists what would be lost, and the way to a deployment that the target can express.

    Args:
        document: the measured deployment.
        target: what can't express it.
        lost: the choices, each as one phrase.
        hint: what comes nearest, a sentence.
        tune: options of ``autotune`` beside ``--target``.
        profile: audio profile to tune for; the measured one's name when None.
    """
    options = [f"--audio-profile {profile or document.audio_profile.name}", f"--target {target}", tune]
    command = " ".join(["autotune", *options]).strip()
    return DocumentError(
        f"{target} cannot express: {'; '.join(lost)}. {hint}{' ' if hint else ''}It was not measured as such: "
        f'"{command}" measures only what {target} can do, and "autotune render --target kubernetes" keeps every choice.'
    )


def plain(value: str | bool) -> str:
    """As YAML has it."""
    return str(value).lower() if isinstance(value, bool) else value


VAD_FRAGMENT = "vad-config.yaml"


def vad_settings(chunking: Chunking) -> dict[str, int]:
    """What ``model_conf`` must say, in ms; empty without a VAD."""
    if chunking.method != "vad":
        return {}
    assert chunking.max_segment_s is not None
    assert chunking.min_silence_s is not None
    return {
        "max_single_segment_time": round(chunking.max_segment_s * 1000),
        "max_end_silence_time": round(chunking.min_silence_s * 1000),
    }


def vad_fragment(chunking: Chunking) -> dict[str, str]:
    """The part of ``config.yaml`` that holds the measured settings, as a file; none without a VAD."""
    settings = vad_settings(chunking)
    if not settings:
        return {}
    head = comments((f"Of {chunking.vad_model}/config.yaml, as measured; times in ms. Other keys stay as they are.",))
    keys = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    return {VAD_FRAGMENT: f"{head}model_conf:\n{keys}"}


def vad_checks(chunking: Chunking) -> list[str]:
    """Shell lines that refuse to start with other settings than the measured ones."""
    config = shlex.quote(f"{chunking.vad_model}/config.yaml")
    lines = []
    for key, value in vad_settings(chunking).items():
        lines += [
            f"if ! grep -Eq '^ *{key}: *{value} *(#.*)?$' {config}; then",
            f"  echo {config} 'must hold model_conf.{key}: {value}, as measured ({VAD_FRAGMENT}).' >&2",
            "  exit 1",
            "fi",
        ]
    return lines
