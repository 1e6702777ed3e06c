"""The published models as FunASR names them: which are supported, tried on their own files with random weights.

    python benchmarks/published_models.py FOLDER --out docs/benchmarks/published.json --table docs/models.md

FOLDER holds one directory for each model of ``MODELS`` (configuration, vocabulary, CMVN; no weights) and ``build.py
NAME OUT ENCODER_BLOCKS DECODER_BLOCKS``, which makes one runnable: FunASR's own class with seeded random weights, here
of 2 + 2 blocks. Each supported one is exported, and its ONNX file is compared with FunASR's AutoModel on clips:
texts, texts with hot words and times of words, where the model has them. ct-punc's tokens aren't in the folder:
its row is of ``random:ct-punc``, the published shape, whose marks are compared with AutoModel's. A model that is not
supported must be refused with an error, which is kept.
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

import yaml

from autotune.accuracy.text import normalise
from autotune.audio.embedded import embedded_clips
from autotune.baselines import given_deployment
from autotune.deployment import Chunking, PunctuationFormat
from autotune.errors import AutotuneError
from autotune.formats import ArtifactSpec
from autotune.isolation import run_task
from autotune.isolation.child import Emit
from autotune.model_directory import ModelDirectory
from autotune.models import (
    ModelInfo,
    artifact_specs,
    ensure_artifact,
    punctuation_files,
    resolve_model,
    resolve_punctuation,
)
from autotune.recognizer.asked import can_time_words
from benchmarks.published import publish

CLIPS = 4
HOT_WORDS = ("魔搭", "达摩院", "气温")
WITHIN_S = 0.061
"""A frame: by so much times of words may differ."""
BLOCKS = ("2", "2")
FORMATS = ("onnx-fp32", "onnx-fp32:lean", "onnx-fp32:fused", "onnx-int8:s8", "torchscript-fp32")
PUNCTUATION = "ct-punc-471067"
TEXTS = 12
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
    Published(PUNCTUATION, ("ct-punc",), weights=False),
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
    same_hot_words: int | None = None
    """Texts with hot words that are FunASR's; None: it takes none."""
    words: int = 0
    """Words of equal texts whose times were compared with FunASR's, first words left out."""
    same_times: int = 0
    """Those of them that begin and end within ``WITHIN_S`` of FunASR's."""
    punctuated: str = ""
    """Of a punctuation model: texts that have FunASR's marks, by format."""


def funasr_texts_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: AutoModel's texts and times of the clips, as FunASR's users call it."""
    from funasr import AutoModel

    model = AutoModel(model=payload["path"], device="cpu", ncpu=1, disable_update=True, disable_pbar=True)
    results = {}
    for name, asked in _asked(payload["hot_words"]).items():
        results[name] = [
            model.generate(input=clip.waveform.copy(), output_timestamp=True, **asked)[0]
            for clip in embedded_clips()[:CLIPS]
        ]
    found: dict[str, Any] = {name: [str(one.get("text", "")) for one in many] for name, many in results.items()}
    found["times"] = [
        [
            [start / 1000, end / 1000]
            # SenseVoice's tags are words to FunASR; Paraformers give no list of words, their text is one.
            for word, (start, end) in zip(one.get("words", one["text"].split()), one["timestamp"], strict=True)
            if not word.startswith("<|")
        ]
        if one.get("timestamp")
        else []
        for one in results["texts"]
    ]
    return found


def _asked(hot_words: bool) -> dict[str, dict[str, str]]:
    """Name of a run → its arguments."""
    return {"texts": {}, **({"hot": {"hotword": " ".join(HOT_WORDS)}} if hot_words else {})}


def own_texts_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: the texts of the exported file, and the times of their words where it gives them."""
    from autotune.recognizer import Recognizer

    model, hot = ModelDirectory.open(Path(payload["path"])), payload["hot_words"]
    clips = [clip.waveform for clip in embedded_clips()[:CLIPS]]
    more: dict[str, Any] = {"hot_words": (), "hot_words_artifact": Path(hot)} if hot else {}
    with Recognizer.load(DEPLOYMENT, model, Path(payload["artifact"]), **more) as recognizer:
        found = recognizer.transcribe(clips, words=payload["words"])
        results: dict[str, Any] = {"texts": [transcript.text for transcript in found]}
        if hot:
            results["hot"] = [transcript.text for transcript in recognizer.transcribe(clips, hotwords=HOT_WORDS)]
        results["times"] = [
            [[word.start_s, word.end_s] for segment in transcript.segments for word in segment.words]
            for transcript in found
        ]
    return results


def funasr_marks_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: texts as AutoModel punctuates them."""
    from funasr import AutoModel

    model = AutoModel(model=payload["path"], device="cpu", ncpu=1, disable_update=True, disable_pbar=True)
    return {"texts": [model.generate(input=text)[0]["text"] for text in payload["texts"]]}


def own_marks_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The child's side: the same by an exported model."""
    from autotune.engines.punctuation import PunctuationSession, read_vocabulary
    from autotune.recognizer.punctuating import punctuate

    folder = Path(payload["folder"])
    session, vocabulary, found = PunctuationSession(folder, 1), read_vocabulary(folder), []
    for text in payload["texts"]:
        steps = punctuate(text, vocabulary)
        try:
            ids = next(steps)
            while True:
                ids = steps.send(session.classify([ids])[0])
        except StopIteration as end:
            found.append(end.value.text())
    return {"texts": found}


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
    if model.folder == PUNCTUATION:
        return _punctuates()
    if model.weights:
        path = work / model.folder
        build = [sys.executable, str(folder / "build.py"), model.folder, str(path), *BLOCKS]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if model.folder == "paraformer-zh-seaco":
            _listens(path)
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
            _compare(found, info, artifact.path)
    return found


def _listens(folder: Path) -> None:
    """Complete what hot words need: ``seg_dict``, which isn't in the folder, and a branch that speaks now and then.

    Random, it would decide every token by a hair; without the file FunASR takes each word for one unknown token.
    """
    import torch

    lines = [f"{letter} {letter}" for letter in sorted(set("".join(HOT_WORDS)))]
    (folder / "seg_dict").write_text("\n".join(lines), encoding="utf-8")
    silent = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["model_conf"]["NO_BIAS"]
    weights = torch.load(folder / "model.pt", weights_only=True)
    weights["hotword_output_layer.bias"][silent] += 2.5
    for name, weight in weights.items():
        if name.startswith("bias_encoder.weight") or (name.startswith("seaco_decoder.") and "src_attn.linear" in name):
            weights[name] = 4 * weight
    torch.save(weights, folder / "model.pt")


def _compare(found: Found, info: ModelInfo, artifact: str) -> None:
    """Texts, with hot words and without, and times of words, beside FunASR's."""
    hot = None
    if info.architecture == "SeacoParaformer":
        hot = ensure_artifact(info, ArtifactSpec("onnx-fp32", None, "funasr", hot_words=True))[0].path
    theirs = _run("funasr_texts_task", path=info.path, hot_words=hot is not None)
    ours = _run("own_texts_task", path=info.path, artifact=artifact, hot_words=hot, words=found.word_times)
    found.same_texts = _same(theirs["texts"], ours["texts"])
    found.same_hot_words = None if hot is None else _same(theirs["hot"], ours["hot"])
    for expected, got in zip(theirs["times"], ours["times"], strict=True):
        # Times are compared word by word, so only where both have as many; a first word may begin at the tags.
        for one, other in list(zip(expected, got, strict=True))[1:] if len(expected) == len(got) else []:
            found.words += 1
            found.same_times += all(abs(a - b) <= WITHIN_S for a, b in zip(one, other, strict=True))


def _punctuates() -> Found:
    """``random:ct-punc``, its ONNX formats beside AutoModel."""
    model = resolve_punctuation("random:ct-punc")
    texts = ["".join(clip.text for clip in embedded_clips()[5 * at : 5 * at + 5]) for at in range(TEXTS)]
    theirs = _run("funasr_marks_task", path=str(model.path), texts=texts)["texts"]
    formats: tuple[PunctuationFormat, ...] = ("onnx-fp32", "onnx-int8")
    same = []
    for fmt in formats:
        ours = _run("own_marks_task", folder=str(punctuation_files(model.stage(fmt, 1))), texts=texts)["texts"]
        same.append(f"{fmt}: {sum(a == b for a, b in zip(theirs, ours, strict=True))} of {TEXTS} texts")
    return Found("CTTransformer", formats=list(formats), punctuated=", ".join(same))


def _run(task: str, **payload: Any) -> dict[str, Any]:
    return run_task(f"benchmarks.published_models:{task}", payload, timeout_s=600.0)


def _same(theirs: list[str], ours: list[str]) -> int:
    """How many are alike as they are compared: FunASR puts spaces between a Paraformer's characters."""
    pairs = zip(theirs, ours, strict=True)
    return sum(normalise(a).replace(" ", "") == normalise(b).replace(" ", "") for a, b in pairs)


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
    if found.punctuated:
        return ["as `--punc-model`", found.punctuated, ", ".join(found.formats), *["–"] * 4]
    if not found.supported:
        return [_WHY.get(model.folder, "no"), *["–"] * 6]
    sensevoice = found.architecture == "SenseVoiceSmall"
    formats = "all" if not found.failed else f"without {', '.join(found.failed)}"
    return [
        f"yes ({found.architecture})",
        f"{found.same_texts} of {found.clips} clips",
        formats,
        "it has none" if found.same_hot_words is None else f"yes, {found.same_hot_words} of {found.clips} texts",
        _times(found),
        "`--itn`" if sensevoice else "`--punc-model`",
        f"[{model.measured}]({model.measured})" if model.measured else "as `paraformer`",
    ]


def _times(found: Found) -> str:
    if not found.word_times:
        return "it has none"
    # Random weights of SenseVoice find no tags, which FunASR counts: a test compares the embedded model's times.
    return f"yes, {found.same_times} of {found.words} words" if found.words else "yes"


_WHY = {
    "paraformer-contextual": "no; the error names `paraformer-zh`",
    "paraformer-zh-streaming": "no; the error names `paraformer-zh`, which serves streams",
    "onnx-paraformer-large-funasr0x": "no; the error names the current ones",
    "fsmn-vad": "as `--vad-model`, or beside a model",
}
"""Folder of a model that isn't supported → what stands in the table."""


if __name__ == "__main__":
    main()
