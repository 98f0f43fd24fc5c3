"""An answer as it grows, with the `openai` package (pip install openai)."""

import os

from openai import OpenAI

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")

with OpenAI(base_url=url, api_key="none") as client:
    model = client.models.list().data[0].id
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n({model}: {chunk.usage.completion_tokens} tokens)")
