"""The published models as FunASR names them: which are supported, tried on their own files with random weights.

    python benchmarks/published_models.py FOLDER --out docs/benchmarks/published.json --table docs/models.md

FOLDER holds one directory for each model of ``MODELS`` (configuration, vocabulary, CMVN; no weights) and ``build.py
NAME OUT ENCODER_BLOCKS DECODER_BLOCKS``, which makes one runnable: FunASR's own class with seeded random weights, here
of 2 + 2 blocks. Each supported one is exported, and the texts of its ONNX file are compared with those of FunASR's
AutoModel on embedded clips. A model that is not supported must be refused with an error, which is kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autotune.accuracy.text import normalise
from autotune.audio.embedded import embedded_clips
from autotune.baselines import given_deployment
from autotune.deployment import Chunking
from autotune.errors import AutotuneError
from autotune.isolation import run_task
from autotune.isolation.child import Emit
from autotune.model_directory import ModelDirectory
from autotune.models import artifact_specs, ensure_artifact, resolve_model
from autotune.recognizer.asked import can_time_words
from benchmarks.published import publish

CLIPS = 4
BLOCKS = ("2", "2")
FORMATS = ("onnx-fp32", "onnx-fp32:lean", "onnx-fp32:fused", "onnx-int8:s8", "torchscript-fp32")
BEGIN, END = "<!-- published: begin -->", "<!-- published: end -->"
DEPLOYMENT = given_deployment("onnx-fp32", ncpu=1).model_copy(update={"chunking": Chunking(method="none")})
"""How an exported file transcribes: whole clips one by one, as AutoModel without a VAD does."""


@dataclass(frozen=True)
class Published:
    """A published model, and what this run found of it."""

    folder: str
    names: tuple[str, ...]
    """FunASR's alias, and its id on ModelScope."""
    weights: bool = True
    """Whether ``build.py`` can make it runnable."""
    measured: str = ""
    """Page of the docs that measures the architecture at full size."""
    note: str = ""


MODELS = (
    Published("SenseVoiceSmall", ("iic/SenseVoiceSmall",), measured="frontier.md"),
    Published(
        "paraformer-large",
        ("paraformer", "iic/speech_paraformer-large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"),
        measured="frontier.md",
    ),
    Published(
        "paraformer-large-vad-punc-bicif",
        ("iic/speech_paraformer-large-vad-punc_asr_nat-zh-cn-16k-common-vocab8404-pytorch",),
    ),
    Published(
        "paraformer-zh-seaco",
        ("paraformer-zh", "iic/speech_seaco_paraformer_large_asr_nat-zh-cn-16k-common-vocab8404-pytorch"),
    ),
    Published("paraformer-contextual", ("iic/speech_paraformer-large-contextual_asr_nat-zh-cn-16k-common-vocab8404",)),
    Published("paraformer-zh-streaming", ("paraformer-zh-streaming",)),
    Published("onnx-paraformer-large-funasr0x", ("directories of funasr 0.x",), weights=False),
    Published("fsmn-vad", ("fsmn-vad",), weights=False),
    Published("ct-punc-471067", ("ct-punc",), weights=False),
)


@dataclass
class Found:
    """What was found of one model."""

    architecture: str
    supported: bool = False
    refusal: str = ""
    formats: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Format → why it can't be exported."""
    same_texts: int = 0
    clips: int = 0
    word_times: bool = False


def funasr_texts_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: AutoModel's texts of the clips, as FunASR's users call it."""
    from funasr import AutoModel

    model = AutoModel(model=payload["path"], device="cpu", ncpu=1, disable_update=True, disable_pbar=True)
    clips = embedded_clips()[:CLIPS]
    return {"texts": [str(model.generate(input=clip.waveform.copy())[0].get("text", "")) for clip in clips]}


def own_texts_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: the texts of the exported file."""
    from autotune.recognizer import Recognizer

    model = ModelDirectory.open(Path(payload["path"]))
    with Recognizer.load(DEPLOYMENT, model, Path(payload["artifact"])) as recognizer:
        clips = [clip.waveform for clip in embedded_clips()[:CLIPS]]
        return {"texts": [transcript.text for transcript in recognizer.transcribe(clips)]}


def main() -> None:
    """Try every model that the folder holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path, help="the page whose table is written")
    options = parser.parse_args()
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as work:
        for model in MODELS:
            print(f"{model.folder} …", file=sys.stderr, flush=True)
            found[model.folder] = tried(model, options.folder, Path(work))
    record = {name: asdict(one) for name, one in found.items()}
    options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    table = table_of(found)
    print(table)
    if options.table is not None:
        publish(options.table, BEGIN, END, table)


def tried(model: Published, folder: Path, work: Path) -> Found:
    """One model: opened, exported, its texts compared."""
    path = folder / model.folder
    if model.weights:
        path = work / model.folder
        build = [sys.executable, str(folder / "build.py"), model.folder, str(path), *BLOCKS]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        info = resolve_model(str(path))
    except AutotuneError as error:
        return Found(architecture="", refusal=str(error).replace(f"{path}/", ""))
    found = Found(architecture=info.architecture, supported=True, clips=CLIPS)
    found.word_times = can_time_words(DEPLOYMENT, ModelDirectory.open(path))
    for spec in artifact_specs(FORMATS):
        try:
            artifact, _ = ensure_artifact(info, spec)
        except AutotuneError as error:
            found.failed[spec.label] = str(error)
            continue
        found.formats.append(spec.label)
        if spec.label == "onnx-fp32":
            theirs = _texts("funasr_texts_task", path=str(path))
            ours = _texts("own_texts_task", path=str(path), artifact=artifact.path)
            found.same_texts = sum(a == b for a, b in zip(theirs, ours, strict=True))
    return found


def _texts(task: str, **payload: str) -> list[str]:
    """Texts as they are compared: FunASR puts spaces between a Paraformer's characters."""
    texts = run_task(f"benchmarks.published_models:{task}", dict(payload), timeout_s=600.0)["texts"]
    return [normalise(text).replace(" ", "") for text in texts]


def table_of(found: dict[str, Found]) -> str:
    """The table of ``docs/models.md``."""
    lines = [
        "| model, as FunASR names it | supported | texts as FunASR's | formats | hot words | word times | punctuation "
        "| measured at full size |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in MODELS:
        one = found[model.folder]
        names = ", ".join(f"`{name}`" if " " not in name else name for name in model.names)
        lines.append(f"| {names} | {' | '.join(_cells(model, one))} |")
    return "\n".join(lines)


def _cells(model: Published, found: Found) -> list[str]:
    if not found.supported:
        return [_WHY.get(model.folder, "no"), *["–"] * 6]
    sensevoice = found.architecture == "SenseVoiceSmall"
    formats = "all" if not found.failed else f"without {', '.join(found.failed)}"
    return [
        f"yes ({found.architecture})",
        f"{found.same_texts} of {found.clips} clips",
        formats,
        "not yet" if found.architecture == "SeacoParaformer" else "it has none",
        "yes" if found.word_times else "it has none" if found.architecture == "Paraformer" else "not yet",
        "`--itn`" if sensevoice else "not yet",
        f"[{model.measured}]({model.measured})" if model.measured else "as `paraformer`",
    ]


_WHY = {
    "paraformer-contextual": "no; the error names `paraformer-zh`",
    "paraformer-zh-streaming": "no; the error names `paraformer-zh`, which serves streams",
    "onnx-paraformer-large-funasr0x": "no; the error names the current ones",
    "fsmn-vad": "as `--vad-model`, or beside a model",
    "ct-punc-471067": "no",
}
"""Folder of a model that isn't supported → what stands in the table."""


if __name__ == "__main__":
    main()
