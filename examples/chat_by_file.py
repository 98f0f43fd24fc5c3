"""A chat by a text file: what is appended to a thread's messages.jsonl is answered in it.

python examples/chat_by_file.py "What is the capital of France?"

Needs a server on the same machine; JAN_DATA_FOLDER is its data folder, ./data by default. Any
editor does as well as this program, and so does
    echo '{"role": "user", "content": "Hi"}' >> data/threads/by-file/messages.jsonl
"""

import json
import os
import sys
import time
from pathlib import Path

folder = Path(os.environ.get("JAN_DATA_FOLDER", "data")) / "threads" / "by-file"
question = " ".join(sys.argv[1:]) or "What is the capital of France?"

if not folder.exists():
    folder.mkdir(parents=True)
    thread = {"title": "By file", "metadata": {"auto_reply": True}}
    (folder / "thread.json").write_text(json.dumps(thread, indent=2))

messages = folder / "messages.jsonl"
before = messages.read_text().count("\n") if messages.exists() else 0
with messages.open("a") as file:
    file.write(json.dumps({"role": "user", "content": question}) + "\n")

for _ in range(600):
    lines = messages.read_text().splitlines()[before + 1 :]
    if lines:
        print(json.loads(lines[0])["content"][0]["text"]["value"])
        break
    time.sleep(0.2)
else:
    sys.exit("No answer in two minutes: does a server run on this data folder?")
