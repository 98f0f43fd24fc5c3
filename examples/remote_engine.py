"""The same folder and API in front of another server: vLLM, Ray Serve, OpenAI, or one of ours.

python examples/remote_engine.py data                              (tries it with one of ours)
python examples/remote_engine.py data http://10.0.0.7:8000/v1 MODEL [KEY]

`data` is the data folder that the running server serves. Two files by hand are all it needs, and
they count from the next request on: where the other server is, and a model that it answers.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from openai import OpenAI

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))
    print(f"wrote {path.relative_to(folder)}")


@contextmanager
def one_of_ours():
    """A second server, which echoes; its base URL, a model of it, its key."""
    with tempfile.TemporaryDirectory() as data:
        model = Path(data) / "models" / "echo"
        model.mkdir(parents=True)
        settings = {"prompt_template": "{prompt}"}
        (model / "model.json").write_text(json.dumps({"engine": "echo", "settings": settings}))
        key = "only-for-a-moment"
        server = subprocess.Popen(
            [sys.executable, "-m", "jan_server", "--port", "0", "--data-folder", data],
            env={**os.environ, "JAN_API_KEY": key},
            stdout=subprocess.PIPE,
            text=True,
        )
        with server:
            try:
                yield f"{server.stdout.readline().split()[1]}/v1", "echo", key
            finally:
                server.terminate()


def ask(base, model, key):
    """Make the two files, ask, and take them away again."""
    where = folder / "engines" / "cluster.json"
    mine = folder / "models" / "on-the-cluster" / "model.json"
    try:
        write(where, {"full_url": f"{base}/chat/completions", "api_key": key})
        write(mine, {"engine": "cluster", "settings": {"remote_model": model}})
        with OpenAI(base_url=url, api_key="none") as client:
            stream = client.chat.completions.create(
                model="on-the-cluster",
                messages=[{"role": "user", "content": "Hello from one machine to many."}],
                stream=True,
                stream_options={"include_usage": True},
            )
            for chunk in stream:
                for choice in chunk.choices:
                    print(choice.delta.content or "", end="", flush=True)
            print(f"\n({chunk.model}: {chunk.usage.completion_tokens} tokens)")
    finally:
        where.unlink(missing_ok=True)
        shutil.rmtree(mine.parent, ignore_errors=True)


folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    base, model, key = [*sys.argv[2:], ""][:3]
    ask(base, model, key)
else:
    with one_of_ours() as there:
        ask(*there)
