"""A client that ``openapi-python-client`` makes of /openapi.json. Arguments: URL of the server, sound file."""

import importlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

url, path = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    command = [str(Path(sys.executable).with_name("openapi-python-client")), "generate", "--url", f"{url}/openapi.json"]
    subprocess.run([*command, "--meta", "none", "--output-path", f"{folder}/made"], check=True, stdout=sys.stderr)
    sys.path.insert(0, folder)
    made = importlib.import_module("made")
    transcribe = importlib.import_module("made.api.default.transcribe")
    models, types = importlib.import_module("made.models"), importlib.import_module("made.types")
    file = types.File(io.BytesIO(Path(path).read_bytes()), "a.wav", "audio/wav")
    answer = transcribe.sync(client=made.Client(base_url=url), body=models.TranscribeBody(file=file))
    print(json.dumps({"call": "transcribe", "text": answer.text}))
