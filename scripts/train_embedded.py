"""Train the embedded model on synthesized speech: ``python scripts/train_embedded.py``.

SenseVoiceSmall's own class (FunASR's) at a fiftieth of the size, CTC, Mandarin from a small grammar in espeak-ng's
voices. One seed gives the same data; the weights repeat with the same torch, threads and CPU. Writes a FunASR model
directory into the package and the training log into ``docs/benchmarks``. Needs espeak-ng ≥1.51 and two cores for about
half an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune.arrays import Float32
from autotune.engines.network import count_parameters, empty_network
from autotune.hardware import probe_hardware
from autotune.model_directory import ModelDirectory
from autotune.models.presets import BPE_FILE, PRESETS, Preset, write_skeleton
from autotune.models.vocabulary import EVENTS, SENSEVOICE_TAGS, sentencepiece_model
from autotune.recognizer.frontend import Frontend
from scripts.embedded.corpus import Mixer, clip_sentences, held_out, spoken_utterances, training_set
from scripts.embedded.grammar import characters, spoken
from scripts.embedded.speech import HELD_OUT_VOICES, TRAINING_VOICES, Style
from scripts.embedded.training import Settings, Trainer, error_rate

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "autotune" / "models" / "embedded"
LOG = ROOT / "docs" / "benchmarks" / "embedded-training.json"

SHAPE = {"output_size": 128, "linear_units": 512, "num_blocks": 6, "tp_blocks": 2}
# Everything heard is mixed anew each epoch, and the network is small: dropout would only cost a third of the time.
NO_DROPOUT = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0, "attention_dropout_rate": 0.0}


def main() -> None:
    """Synthesize, train, test, write."""
    options = _options()
    started = time.monotonic()
    torch.manual_seed(options.seed)
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)

    pieces = _pieces()
    model = _skeleton(pieces, options.out)
    frontend = Frontend(model.frontend)
    tests = {
        "held-out sentences": _spoken_test(held_out(TRAINING_VOICES, options.seed + 1), threads),
        "held-out voices": _spoken_test(held_out(HELD_OUT_VOICES, options.seed + 2), threads),
    }
    excluded = {spoken(text) for text, _ in clip_sentences()}
    excluded |= {spoken(text) for test in tests.values() for text, _ in test}
    utterances = training_set(options.seed + 3, options.hours, excluded, threads=threads)
    synthesis_s = time.monotonic() - started
    audio_s = sum(utterance.audio_s for utterance in utterances)
    _say(f"{len(utterances)} utterances, {audio_s / 3600:.2f} h, synthesized in {synthesis_s:.0f} s")

    network = empty_network(model)
    settings = Settings(epochs=options.epochs, bfloat16=not options.float32)
    ids = {piece: index for index, piece in enumerate(pieces)}
    letters = [piece if len(piece) == 1 else "" for piece in pieces]
    trainer = Trainer(network, frontend, ids, Mixer(utterances, options.seed + 4), settings, options.seed + 5)
    epochs = []
    for epoch in _train(trainer, frontend, letters, tests, started):
        epochs.append(epoch)
        torch.save(_half(trainer.averaged()), options.out / "model.pt")
    network.load_state_dict(_half(trainer.averaged()))
    final = {name: error_rate(network, frontend, letters, test) for name, test in tests.items()}
    log = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": probe_hardware().describe(),
        "versions": {
            **{package: version(package) for package in ("funasr", "torch", "numpy")},
            "espeak-ng": _espeak_version(),
            "python": platform.python_version(),
        },
        "threads": threads,
        "seed": options.seed,
        "settings": asdict(settings),
        "shape": SHAPE,
        "parameters": count_parameters(network),
        "characters": len(characters()),
        "voices": {"training": TRAINING_VOICES, "held out": HELD_OUT_VOICES},
        "training_audio_s": audio_s,
        "utterances": len(utterances),
        "synthesis_s": synthesis_s,
        "wall_s": time.monotonic() - started,
        "cer": final,
        "test": {
            name: {"sentences": len(t), "characters": sum(len(spoken(x)) for x, _ in t)} for name, t in tests.items()
        },
        "epochs": epochs,
    }
    options.log.write_text(json.dumps(log, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    _say(f"CER {', '.join(f'{name} {value:.2%}' for name, value in final.items())}; {log['wall_s']:.0f} s in all")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=8.0, help="of training speech")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--float32", action="store_true", help="not bfloat16, for CPUs without it: 1.6 times as long")
    parser.add_argument("--out", type=Path, default=MODEL)
    parser.add_argument("--log", type=Path, default=LOG)
    return parser.parse_args()


def _train(
    trainer: Trainer,
    frontend: Frontend,
    letters: list[str],
    tests: dict[str, list[tuple[str, Float32]]],
    started: float,
) -> Iterator[dict[str, Any]]:
    losses: list[float] = []
    heard_s: list[float] = []
    spent = time.monotonic()

    def on_step(share: float, loss: float, audio_s: float) -> None:
        losses.append(loss)
        heard_s.append(audio_s)
        if len(losses) % 20 == 0:
            rtfx = sum(heard_s) / (time.monotonic() - spent)
            _say(f"{share:7.2%}  loss {np.mean(losses[-20:]):.3f}  {rtfx:.0f} s of audio a second")

    for epoch in trainer.train(on_step):
        kept = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        trainer.network.load_state_dict(trainer.averaged())
        cer = {name: error_rate(trainer.network, frontend, letters, test[:60]) for name, test in tests.items()}
        trainer.network.load_state_dict(kept)
        wall_s = time.monotonic() - started
        _say(
            f"epoch {epoch + 1}: "
            + ", ".join(f"{name} {value:.2%}" for name, value in cer.items())
            + f"  {wall_s:.0f} s"
        )
        yield {"epoch": epoch + 1, "loss": float(np.mean(losses[-100:])), "cer": cer, "wall_s": round(wall_s, 1)}


def _espeak_version() -> str:
    done = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True)
    return done.stdout.split("Data")[0].strip()


def _half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """16-bit floats: half the size, and no more error than training leaves."""
    return {name: value.half() if value.is_floating_point() else value for name, value in state.items()}


def _spoken_test(asked: Sequence[tuple[str, Style]], threads: int) -> list[tuple[str, Float32]]:
    """Held-out sentences as recordings: the training's silences, gains and noise, other random draws."""
    made = list(spoken_utterances([(text, style, 1.0) for text, style in asked], threads=threads))
    mixer = Mixer(made, seed=1)
    return [(one.text, mixer.mix(mixer.example([index]))) for index, one in enumerate(made)]


def _pieces() -> list[str]:
    return ["<unk>", "<s>", "</s>", *characters(), *SENSEVOICE_TAGS, *EVENTS]


def _skeleton(pieces: list[str], out: Path) -> ModelDirectory:
    """The directory without weights: configuration, vocabulary, CMVN."""
    base = PRESETS["sensevoice-tiny"].config
    config = {**base, "encoder_conf": {**base["encoder_conf"], **SHAPE, **NO_DROPOUT}}
    write_skeleton(Preset(config, len(pieces)), out, random_seed=0)
    (out / BPE_FILE).write_bytes(sentencepiece_model(pieces))
    meta = json.loads((out / "configuration.json").read_text(encoding="utf-8"))
    del meta["random_weights"]
    meta["embedded_model"] = {"made_by": "scripts/train_embedded.py"}
    (out / "configuration.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    (out / "model.pt").touch()
    return ModelDirectory.open(out)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
