"""A thread made with nothing but files, read back over HTTP.

python examples/by_hand.py data        (the data folder that the server serves)
"""

import json
import os
import sys
import urllib.request
from pathlib import Path

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")
thread = Path(sys.argv[1]) / "threads" / "shopping"

thread.mkdir(exist_ok=True)
(thread / "thread.json").write_text('{"title": "Shopping"}\n')
with (thread / "messages.jsonl").open("a") as lines:
    lines.write('{"role": "user", "content": "Remember the milk."}\n')

with urllib.request.urlopen(f"{url}/threads/shopping/messages") as answer:
    for message in json.load(answer)["data"]:
        print(f"{message['role']}: {message['content'][0]['text']['value']}")
