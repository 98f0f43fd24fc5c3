"""OpenAI's Assistants API on your own files, with the `openai` package (pip install openai).

An assistant must look up the weather before it answers. What it calls is answered here, and its
reply is a line of the thread's `messages.jsonl` in the end; `runs.jsonl` says how it came to that.
"""

import json
import os
import warnings

from openai import OpenAI

url = os.environ.get("JAN_URL", "http://127.0.0.1:1337/v1")
# OpenAI has switched its own off, and its package says so at every call.
warnings.filterwarnings("ignore", category=DeprecationWarning)

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "How the weather is in a city today.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 40}},
            "required": ["city"],
        },
        "strict": True,
    },
}


def get_weather(city):
    return f"It is sunny in {city}, 21 degrees."


with OpenAI(base_url=url, api_key="none") as client:
    threads = client.beta.threads
    assistant = client.beta.assistants.create(
        name="Weather",
        model=client.models.list().data[0].id,
        instructions="You tell people how the weather is.",
        tools=[WEATHER],
        temperature=0,
    )
    thread = threads.create(messages=[{"role": "user", "content": "Shall I take an umbrella?"}])
    run = threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        tool_choice="required",
        parallel_tool_calls=False,
        max_completion_tokens=200,
    )
    outputs = []
    for call in run.required_action.submit_tool_outputs.tool_calls:
        result = get_weather(**json.loads(call.function.arguments))
        print(f"{call.function.name}({call.function.arguments}) = {result}")
        outputs.append({"tool_call_id": call.id, "output": result})
    with threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs
    ) as stream:
        for text in stream.text_deltas:
            print(text, end="", flush=True)
    print(f"\n({thread.id}: {stream.get_final_run().status})")
