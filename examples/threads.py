"""Threads and messages by OpenAI's Assistants API, kept as files (pip install openai)."""

import os
import warnings

from openai import OpenAI

# OpenAI switched its hosted Assistants API off, and its SDK says so at every call.
warnings.filterwarnings("ignore", category=DeprecationWarning)
url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")

with OpenAI(base_url=url, api_key="none") as client:
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": "Remember the milk."}], metadata={"list": "shopping"}
    )
    client.beta.threads.messages.create(thread.id, role="user", content="And the bread.")
    for message in client.beta.threads.messages.list(thread.id, order="asc"):
        print(f"{message.role}: {message.content[0].text.value}")
    client.beta.threads.delete(thread.id)
    print(f"{thread.id} is in the trash")
