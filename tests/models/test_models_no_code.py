"""Promise 7, no code from data: whatever lies in a model's directory, and whatever its configuration names."""

import ast
import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from autotune.engines.funasr_import import import_network_classes
from autotune.engines.network import build_network
from autotune.errors import ModelError
from autotune.model_directory import VAD_CLASS, VAD_ENCODER, ModelDirectory, read_tokens
from autotune.models import resolve_model
from autotune.recognizer.frontend import Frontend
from autotune.recognizer.fsmn_vad import FsmnVad
from benchmarks.fsmn_config import fsmn_config
from tests.models.models_types import InProcess
from tests.payload import PAYLOADS

PACKAGE = Path(__file__).parents[2] / "autotune"
SIZES = {
    "input_affine_dim": 8,
    "fsmn_layers": 1,
    "linear_dim": 8,
    "proj_dim": 8,
    "output_affine_dim": 8,
    "output_dim": 2,
}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture(scope="session")
def vad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    folder = tmp_path_factory.mktemp("vad")
    (folder / "config.yaml").write_text(fsmn_config(**SIZES), encoding="utf-8")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    tables = import_network_classes(VAD_CLASS, {"encoder": VAD_ENCODER})
    model = tables.model_classes[VAD_CLASS](
        encoder=VAD_ENCODER, encoder_conf=config["encoder_conf"], **config["model_conf"]
    )
    torch.save(model.state_dict(), folder / "model.pt")
    return folder


def use(path: Path) -> None:
    """Everything that reads a file of a model's directory."""
    directory = ModelDirectory.open(Path(resolve_model(str(path), run=InProcess()).path))
    Frontend(directory.frontend)
    assert directory.tokens_path is not None
    read_tokens(directory.tokens_path)
    build_network(directory)


@pytest.mark.parametrize("form", PAYLOADS)
@pytest.mark.parametrize("name", ["config.yaml", "configuration.json", "model.pt", "am.mvn", "tokens.json"])
def test_no_file_of_a_model_runs_code(name: str, form: str, copied: Path, trace: Path) -> None:
    (copied / name).write_bytes(PAYLOADS[form](trace))
    with pytest.raises(ModelError):
        use(copied)
    assert not trace.exists()


@pytest.mark.parametrize("form", PAYLOADS)
@pytest.mark.parametrize("name", ["config.yaml", "model.pt", "am.mvn"])
def test_no_file_of_a_vad_runs_code(name: str, form: str, vad: Path, tmp_path: Path, trace: Path) -> None:
    mine = Path(shutil.copytree(vad, tmp_path / "vad"))
    FsmnVad(mine, min_silence_s=0.5)
    (mine / name).write_bytes(PAYLOADS[form](trace))
    with pytest.raises(ModelError):
        FsmnVad(mine, min_silence_s=0.5)
    assert not trace.exists()


def code_in(folder: Path, trace: Path) -> dict[str, Any]:
    """What a hub's directory may bring along to be run, and the keys by which FunASR runs it."""
    code = folder / "model.py"
    code.write_text(f"open({str(trace)!r}, 'w')\n", encoding="utf-8")
    (folder / "remote_code").mkdir()
    shutil.copy(code, folder / "remote_code" / "__init__.py")
    (folder / "requirements.txt").write_text(f"-e {folder}\n", encoding="utf-8")
    (folder / "setup.py").write_text(code.read_text(encoding="utf-8"), encoding="utf-8")
    runs = {"trust_remote_code": True, "remote_code": str(code)}
    models = [f"{kind}_model" for kind in ("vad", "punc", "spk", "lm")]
    return {
        **runs,
        **{name: str(folder) for name in models},
        **{name.replace("_model", "_kwargs"): runs for name in models},
        "hub": "hf",
        "model_path": str(folder),
        "init_param": str(code),
    }


def dispatched() -> list[str]:
    """The keys by whose values FunASR looks for a class in its registry."""
    tables = importlib.import_module("funasr.register").tables
    kinds = [name.removesuffix("_classes") for name in dir(tables) if name.endswith("_classes")]
    assert {"model", "encoder", "frontend", "tokenizer", "normalize"} <= {*kinds}
    return sorted(kinds)


@pytest.mark.parametrize("place", ["config.yaml", "model_conf"])
def test_no_key_of_a_configuration_runs_code(place: str, copied: Path, vad: Path, tmp_path: Path, trace: Path) -> None:
    mine = Path(shutil.copytree(vad, tmp_path / "vad"))
    # Names that would import the code, did anything look for them beside the registry.
    sys.path.insert(0, str(copied))
    try:
        for folder, load in ((copied, use), (mine, lambda path: FsmnVad(path, min_silence_s=0.5))):
            config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            code = code_in(folder, trace)
            for added in (code, *({**code, kind: "remote_code"} for kind in dispatched())):
                more = {**config, **added} if place == "config.yaml" else config | {"model_conf": {**added}}
                (folder / "config.yaml").write_text(yaml.safe_dump(more), encoding="utf-8")
                try:
                    load(folder)
                except ModelError:
                    continue
            assert not trace.exists()
    finally:
        sys.path.remove(str(copied))


CALLS = {
    *("eval", "exec", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler"),
    *("marshal.load", "marshal.loads", "shelve.open", "yaml.load", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.load_all", "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "shutil.unpack_archive", "tarfile.open"),
    *("zipfile.ZipFile", "importlib.util.spec_from_file_location", "runpy.run_path"),
}
"""What makes code of data, or files of an archive at names that the archive chooses."""
MUST_SAY = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def test_nothing_in_the_package_makes_code_of_data() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            option, value = MUST_SAY.get(name, (None, None))
            if name in CALLS or said.get("shell") == "True" or (option and said.get(option) != str(value)):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {name}")
    assert not found


def test_automodel_gets_only_keys_that_are_listed() -> None:
    """FunASR's AutoModel takes any key as an argument, and some run code: one place calls it."""
    names = [
        path.name
        for path in sorted(PACKAGE.rglob("*.py"))
        if any(
            isinstance(node, ast.Call) and ast.unparse(node.func) == "AutoModel"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert names == ["funasr.py"]
