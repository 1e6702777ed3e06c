"""``litellm``. Arguments: URL of the server, sound file."""

import json
import os
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet for prices first
import litellm

url, path = sys.argv[1:]
with Path(path).open("rb") as file:
    answer = litellm.transcription(model="openai/any", file=file, api_base=f"{url}/v1", api_key="none")
print(json.dumps({"call": "transcription", "text": answer.text}))
