"""Functions that the model calls, with the `openai` package (pip install openai).

First the model must call the function, then it is told the result and answers as it likes; whether
it calls again is its own choice. A very small model decides that badly, but calls in valid JSON.
"""

import json
import os

from openai import OpenAI

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "How the weather is in a city today.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 40},
                    "unit": {"enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "unit"],
            },
            "strict": True,
        },
    }
]


def get_weather(city, unit):
    return {"city": city, "sky": "sunny", "temperature": 21 if unit == "celsius" else 70}


with OpenAI(base_url=url, api_key="none") as client:
    model = client.models.list().data[0].id
    messages = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]
    for choice in ("required", "auto"):
        answer = client.chat.completions.create(
            model=model,
            messages=messages,
            tools=TOOLS,
            tool_choice=choice,
            parallel_tool_calls=False,
            temperature=0,
            max_tokens=100,
        )
        said = answer.choices[0].message
        messages.append(said.to_dict())
        print(f"{choice}: {answer.choices[0].finish_reason}: {said.content or ''}")
        for call in said.tool_calls or []:
            result = get_weather(**json.loads(call.function.arguments))
            print(f"{call.function.name}({call.function.arguments}) = {json.dumps(result)}")
            messages.append(
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)}
            )
