"""``funasr-python``: FunASR's WebSocket protocol. Arguments: URL of the server, sound file.

In the modes 2pass and online it returns the last message's text alone, whichever server it asks.
"""

import json
import sys

from funasr_client import recognize_file

url, path = sys.argv[1:]
for mode in ("offline", "2pass", "online"):
    text = recognize_file(path, url.replace("http", "ws", 1), mode=mode)
    call = "recognize_file, offline" if mode == "offline" else f"recognize_file, {mode}: its last message"
    print(json.dumps({"call": call, "text": text}), flush=True)
