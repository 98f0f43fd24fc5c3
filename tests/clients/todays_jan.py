"""Today's Jan on the folder, as it is known to read and write: it knows nothing of others.

It reads strictly: a line that is blank or no JSON hides all of a thread's messages. It adds a
message by appending, and changes or deletes one by reading all, truncating and writing anew. A
thread.json is written over, in place, by what its window has.

`python -m tests.clients.todays_jan ROOT THREAD OTHER SECONDS` works on two threads for so long, and
prints what it has said, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import sys
import time
import uuid
from pathlib import Path
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class TodaysJan:
    def __init__(self, root: Path) -> None:
        self.threads_folder = root / "threads"

    def threads(self) -> dict[str, dict[str, Any]]:
        """`jan threads list`, and what its window shows: those that it can read."""
        found = {}
        for path in sorted(self.threads_folder.glob("*/thread.json")):
            try:
                thread = json.loads(path.read_bytes())
            except ValueError:
                continue
            if self._is_shown(thread):
                found[thread["id"]] = thread
        return found

    def messages(self, thread_id: str) -> list[dict[str, Any]]:
        """`jan threads messages ID`. Raises ValueError for a line that it cannot read."""
        path = self._messages_path(thread_id)
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().removesuffix("\n").split("\n")]

    def create(self, title: str) -> str:
        id = str(uuid.uuid4())
        folder = self.threads_folder / id
        folder.mkdir(parents=True)
        model = {"engine": "llamacpp", "id": "tiny"}
        self.save(
            {
                "assistants": [{"id": "jan", "instructions": "", "model": model, "name": "Jan"}],
                "created": time.time(),
                "id": id,
                "metadata": {"order": 1},
                "model": {"id": "tiny", "provider": "llamacpp"},
                "object": "thread",
                "title": title,
                "updated": time.time(),
            }
        )
        return id

    def save(self, thread: dict[str, Any]) -> None:
        path = self.threads_folder / thread["id"] / "thread.json"
        path.write_text(json.dumps(thread, indent=2, sort_keys=True))

    def say(self, thread_id: str, text: str, *, role: str = "user") -> str:
        message = {
            "completed_at": 0,
            "content": [{"text": {"annotations": [], "value": text}, "type": "text"}],
            "created_at": int(time.time() * 1000),
            "id": str(uuid.uuid4()),
            "object": "thread.message",
            "role": role,
            "status": "ready",
            "thread_id": thread_id,
            "type": "text",
        }
        with self._messages_path(thread_id).open("ab", buffering=0) as file:
            file.write(_line(message).encode())
        return text

    def change(self, thread_id: str, id: str, text: str) -> None:
        """Of what it has read; what others add meanwhile is cut off."""
        messages = self.messages(thread_id)
        for message in messages:
            if message["id"] == id:
                message["content"][0]["text"]["value"] = text
                message["completed_at"] = int(time.time() * 1000)
        with self._messages_path(thread_id).open("wb", buffering=0) as file:
            file.write("".join(map(_line, messages)).encode())

    def _messages_path(self, thread_id: str) -> Path:
        return self.threads_folder / thread_id / "messages.jsonl"

    def _is_shown(self, thread: dict[str, Any]) -> bool:
        """One whose assistants lack their model's engine is not (janhq/jan#6773)."""
        return all("engine" in one["model"] for one in thread.get("assistants", []))


def _line(message: dict[str, Any]) -> str:
    return json.dumps(message, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def work(jan: TodaysJan, id: str, other: str, seconds: float) -> list[str]:
    """Add and change messages of one thread and save another, in any order; what it said."""
    said: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        choice = random.random()
        if choice < 0.6 or not said:
            said.append(jan.say(id, f"jan {len(said)}"))
        elif choice < 0.8:
            jan.save({**jan.threads()[other], "order": len(said)})
        else:
            _change_first(jan, id)
        time.sleep(random.random() / 20)
    return said


def _change_first(jan: TodaysJan, id: str) -> None:
    """Not when a line is being written this very moment: it reads without any lock."""
    with contextlib.suppress(ValueError):
        own = [m for m in jan.messages(id) if _text(m).startswith("jan")]
        if own:
            jan.change(id, own[0]["id"], _text(own[0]))


def _text(message: dict[str, Any]) -> str:
    text: str = message["content"][0]["text"]["value"]
    return text


if __name__ == "__main__":
    root, thread, other, seconds = sys.argv[1:]
    print(json.dumps(work(TodaysJan(Path(root)), thread, other, float(seconds))))
