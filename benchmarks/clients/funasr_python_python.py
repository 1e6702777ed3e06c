"""``funasr-python``: FunASR's WebSocket protocol. Arguments: URL of the server, sound file."""

import json
import sys

from funasr_client import recognize_file

url, path = sys.argv[1:]
for mode in ("offline", "2pass", "online"):
    text = recognize_file(path, url.replace("http", "ws", 1), mode=mode)
    print(json.dumps({"call": f"recognize_file, {mode}", "text": text}), flush=True)
