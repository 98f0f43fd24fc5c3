"""A thread made, mended and spoilt by hand while the server runs, and what the server says to it.

python examples/thread_by_hand.py data        (the data folder that the server serves)
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")
thread = Path(sys.argv[1]) / "threads" / "shopping"


def ask(path, change=None):
    """GET, or PATCH when there is something to change; the answer's JSON."""
    body = None if change is None else json.dumps(change).encode()
    request = urllib.request.Request(f"{url}{path}", body, method="PATCH" if body else "GET")
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def by_hand(command):
    print(f"$ {command}", flush=True)  # Before what the command prints.
    subprocess.run(command, shell=True, check=True, cwd=thread)


def show_title():
    print(f"GET /threads/shopping: {ask('/threads/shopping')['title']}")


def show_messages():
    print("GET /threads/shopping/messages:")
    for message in ask("/threads/shopping/messages")["data"]:
        print(f"    {message['role']}: {message['content'][0]['text']['value']}")


thread.mkdir()  # Not when there is one: it is removed in the end.

# A folder with one of the two files is a thread, and a line needs no more than this.
by_hand("""echo '{"title": "Shopping", "mood": "hungry"}' > thread.json""")
by_hand("""echo '{"role": "user", "content": "Remember the milk."}' >> messages.jsonl""")
show_title()
show_messages()

# Every edit counts from the next request on, made with whichever tool.
by_hand("""sed 's/milk/bread/' messages.jsonl > new && mv new messages.jsonl""")
by_hand("""printf '{"role": "assistant", "content": "I will."}' >> messages.jsonl""")
show_messages()

# What the API changes, changes nothing else.
print("PATCH /threads/shopping: title = Saturday")
ask("/threads/shopping", {"title": "Saturday"})
by_hand("""grep -o '"title": "Saturday", "mood": "hungry"' thread.json""")

# A line that cannot be read hides only itself, and is reported with its place.
by_hand("""printf '\\nmilk, eggs\\n' >> messages.jsonl""")
show_messages()
for finding in ask("/diagnostics")["findings"]:
    if finding["file"].startswith("threads/shopping/"):
        print(f"{finding['file']}:{finding['line']}:{finding['column']} {finding['reason']}")
by_hand("""sed '/eggs/d' messages.jsonl > new && mv new messages.jsonl""")

# While thread.json is broken the last good version is shown, and nothing writes to it.
by_hand("""echo '{"title": "Sunday",' > thread.json""")
show_title()
print("PATCH /threads/shopping: title = Monday")
print(f"    {ask('/threads/shopping', {'title': 'Monday'})['message']}")
by_hand("""echo '{"title": "Sunday"}' > thread.json""")
show_title()

by_hand("""rm -r ../shopping""")
print(f"GET /threads/shopping: {ask('/threads/shopping')['message']}")
