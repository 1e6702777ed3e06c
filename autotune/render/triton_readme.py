"""What fills a rendered Triton model repository beside its ``config.pbtxt``, and what was not measured in it."""

from __future__ import annotations

import shlex

from autotune.deploy_yaml import DeploymentFile
from autotune.engines.tensors import LANGUAGE_IDS, TEXT_NORM_IDS

__all__ = ["repository_notes", "repository_readme"]


def repository_notes(document: DeploymentFile) -> tuple[str, ...]:
    """What the user must know."""
    deployment = document.deployment
    notes = [
        "Measured was the network on this ONNX Runtime session; Triton has an ONNX Runtime of its own version: measure "
        "again before relying on the figures.",
        "FunASR's feature extractor and scoring run around it. They were not measured, and add noise to the audio "
        "(dither): set opts.frame_opts.dither = 0.0 in feature_extractor/1/model.py for the measured features.",
    ]
    if deployment.device == "cpu":
        notes.append('feature_extractor/1/model.py computes on CUDA: set self.device = "cpu" in it on a CPU.')
    if deployment.batch.max_size > 1:
        notes.append(
            "Triton batches requests of equal length only, in the order of their arrival: clients must pad to few "
            "lengths. Measured were batches formed by nearness of length."
        )
    if document.model.architecture == "SenseVoiceSmall":
        notes.append(
            f"Each request names its prompts: LANGUAGE {LANGUAGE_IDS[deployment.language]} ({deployment.language}), "
            f"TEXT_NORM {TEXT_NORM_IDS[deployment.text_norm]} ({deployment.text_norm}), as measured."
        )
        if deployment.batch.max_size > 1:
            notes.append(
                "FunASR's scoring/1/model.py takes repeated tokens together over a whole batch, and minds no lengths: "
                "make it do so row by row, or the texts of batches differ from the measured ones."
            )
    else:
        notes.append(
            "FunASR's scoring/1/model.py wants 8404 tokens (change its assertion for another vocabulary), and reads "
            "tokens.json with an encoding, which Python has not known since 3.9: leave that out."
        )
    return tuple(notes)


def repository_readme(document: DeploymentFile, ensemble: str, repository: str, notes: tuple[str, ...]) -> str:
    """How to fill the repository, as Markdown."""
    artifact = document.deployment.artifact
    label = artifact.label if artifact is not None else document.deployment.format
    sensevoice = document.model.architecture == "SenseVoiceSmall"
    theirs = "model_repo_sense_voice_small" if sensevoice else "model_repo_paraformer_large_offline"
    model = shlex.quote(document.model.path)
    tokens = (
        f"cp {model}/chn_jpn_yue_eng_ko_spectok.bpe.model scoring/"
        if sensevoice
        else f"cp {model}/tokens.json scoring/1/"
    )
    listed = "\n".join(f"- {note}" for note in notes)
    return f"""# {" ".join(document.model.id.split())} on Triton

Deployment {document.deployment.key}: {document.deployment.describe()}

{listed}

In this directory, with FunASR's repository beside it:

```sh
mkdir -p encoder/1 feature_extractor/1 scoring/1 {ensemble}/1
autotune export --model {model} --formats {label}   # prints the path of the measured file
ln -s /path/that/it/printed/model.onnx encoder/1/model.onnx
cp FunASR/runtime/triton_gpu/{theirs}/feature_extractor/1/model.py feature_extractor/1/
cp FunASR/runtime/triton_gpu/{theirs}/scoring/1/model.py scoring/1/
cp {model}/am.mvn {model}/config.yaml feature_extractor/
{tokens}
tritonserver --model-repository {shlex.quote(repository)}
```
"""
