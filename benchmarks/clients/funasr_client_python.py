"""``funasr-client``: FunASR's WebSocket protocol. Arguments: URL of the server, sound file.

The asyncio client, since version 0.1.6 of the other one takes its own lock twice when it closes, and waits for ever.
"""

import asyncio
import json
import sys

from funasr_client.file_asr import async_file_asr, async_file_asr_stream

url, path = sys.argv[1:]
server = url.replace("http", "ws", 1)


async def main() -> None:
    for mode in ("offline", "online"):
        text = "".join([message["text"] async for message in async_file_asr_stream(path, server, mode=mode)])
        print(json.dumps({"call": f"async_file_asr_stream, {mode}", "text": text}), flush=True)
    answer = await async_file_asr(path, server, mode="2pass")
    print(json.dumps({"call": "async_file_asr, 2pass", "text": answer["text"]}), flush=True)


asyncio.run(main())
