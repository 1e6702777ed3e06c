"""``openai``, which here refuses an answer that its own types don't allow. Arguments: URL of the server, sound file."""

import json
import sys
from pathlib import Path

import openai

url, path = sys.argv[1:]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, _strict_response_validation=True)


def tell(call: str, text: str) -> None:
    print(json.dumps({"call": call, "text": text}), flush=True)


def transcribe(**options: object) -> object:
    with Path(path).open("rb") as file:
        return client.audio.transcriptions.create(file=file, model="any", **options)  # type: ignore[call-overload]


tell("transcriptions.create", transcribe().text)  # type: ignore[attr-defined]
verbose = transcribe(response_format="verbose_json", timestamp_granularities=["word", "segment"])
tell("verbose_json, times of words", "".join(word.word for word in verbose.words))  # type: ignore[attr-defined]
tell("verbose_json, segments", "".join(one.text for one in verbose.segments))  # type: ignore[attr-defined]
tell("text", f"{transcribe(response_format='text')}".strip())
cues = f"{transcribe(response_format='srt')}".strip().split("\n\n")
tell("srt", "".join(cue.split("\n", 2)[2] for cue in cues))
events = list(transcribe(stream=True))  # type: ignore[call-overload]
tell("stream=True, deltas", "".join(event.delta for event in events if event.type == "transcript.text.delta"))
tell("stream=True, done", events[-1].text)
name = client.models.list().data[0].id
assert client.models.retrieve(name).id == name
