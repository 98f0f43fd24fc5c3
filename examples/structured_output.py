"""An answer that is an instance of a class, with the `openai` package (pip install openai).

The class becomes a JSON Schema, and the server lets the model write nothing else. A schema (or a
regular expression, or a grammar) can be sent as it is, too: `response_format`, `regex`, `grammar`.
"""

import os
from typing import Literal

from openai import OpenAI
from pydantic import BaseModel

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")


class Capital(BaseModel):
    country: str
    city: str
    continent: Literal["Africa", "America", "Asia", "Europe", "Oceania"]


with OpenAI(base_url=url, api_key="none") as client:
    model = client.models.list().data[0].id
    answer = client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        temperature=0,
        response_format=Capital,
    )
    capital = answer.choices[0].message.parsed
    print(f"{capital.city} is the capital of {capital.country}, in {capital.continent}.")

    answer = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "When did the French Revolution begin?"}],
        temperature=0,
        extra_body={"regex": "In the year 1[0-9]{3}[.]"},
    )
    print(answer.choices[0].message.content)
