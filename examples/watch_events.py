"""What happens in the data folder, as it happens, by the API or by hand. Ctrl-C ends it.

python examples/watch_events.py        (then change a file of the data folder)
"""

import json
import os
import urllib.request
from contextlib import suppress

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")


def events():
    """For ever. After a connection that broke, those that followed the last event."""
    last_id = ""
    while True:
        request = urllib.request.Request(f"{url}/events", headers={"Last-Event-ID": last_id})
        with urllib.request.urlopen(request) as stream:
            print("watching", flush=True)
            for line in stream:
                field, _, value = line.decode().rstrip("\n").partition(": ")
                if field == "id":
                    last_id = value
                elif field == "data":
                    yield json.loads(value)


def told(event):
    if event["type"] == "resync":
        return f"events may be missing: {event['reason']}"
    texts = [part.get("text") for part in event.get("message", {}).get("content", [])]
    said = " ".join(text["value"] for text in texts if text)
    return f"{event['type']} {event['id']} ({event['cause']}) {said}".rstrip()


with suppress(KeyboardInterrupt):
    for event in events():
        if "error" in event:
            print(event["error"]["message"])
            break
        print(told(event), flush=True)
