"""``funasr-client``: FunASR's WebSocket protocol. Arguments: URL of the server, sound file."""

import json
import sys

from funasr_client.file_asr import file_asr

url, path = sys.argv[1:]
for mode in ("offline", "2pass", "online"):
    answer = file_asr(path, url.replace("http", "ws", 1), mode=mode)
    print(json.dumps({"call": f"file_asr, {mode}", "text": answer["text"]}), flush=True)
