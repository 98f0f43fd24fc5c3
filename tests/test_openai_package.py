"""An independent client is the judge: the `openai` package, unmodified, against a real server."""

from __future__ import annotations

import json

import openai
import pytest

from jan_server.settings import Settings
from tests.running import CHECKED, served

pytestmark = [
    pytest.mark.model,
    # OpenAI deprecated its Assistants API; its SDK says so at every call.
    pytest.mark.filterwarnings("ignore:.*Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def client(smollm2_folder):
    settings = Settings(data_folder=smollm2_folder, fsync=False)
    with served(settings) as base, openai.OpenAI(base_url=f"{base}/v1", **CHECKED) as client:
        yield client


def test_models_are_listed_and_retrieved(client):
    [model] = client.models.list().data
    assert (model.id, model.object) == (MODEL, "model")
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nope")
    assert caught.value.code == "model_not_found"


def test_the_capital_of_france_is_paris(client):
    answer = client.chat.completions.create(
        model=MODEL, messages=FRANCE, temperature=0, max_tokens=64
    )
    [choice] = answer.choices
    assert "Paris" in choice.message.content
    assert choice.finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (27, 8)


def test_a_stream_says_the_same_and_can_carry_the_usage(client):
    plain = client.chat.completions.create(
        model=MODEL, messages=FRANCE, temperature=0, max_tokens=64
    )
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=FRANCE,
            temperature=0,
            max_tokens=64,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens


def test_the_same_seed_gives_the_same_answer(client):
    def answer(seed):
        asked = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell me a story."}],
            temperature=1.5,
            max_tokens=24,
            seed=seed,
        )
        return asked.choices[0].message.content

    first = answer(1)
    assert answer(1) == first
    assert answer(2) != first


def test_several_answers_are_choices_with_seeds_of_their_own(client):
    def answers(**more):
        asked = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Tell me a story."}],
            temperature=1.5,
            max_tokens=12,
            **more,
        )
        return [choice.message.content for choice in asked.choices]

    assert answers(n=2, seed=5) == [*answers(seed=5), *answers(seed=6)]


def test_likelihoods_are_told_in_answers_and_streams(client):
    asked = {"model": MODEL, "messages": FRANCE, "temperature": 0, "max_tokens": 4}
    asked |= {"logprobs": True, "top_logprobs": 3}
    [choice] = client.chat.completions.create(**asked).choices
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content
    for token in tokens:
        assert bytes(token.bytes).decode() == token.token
        # Greedy: the chosen token is the likeliest of the three.
        assert (token.token, token.logprob) == (
            token.top_logprobs[0].token,
            token.top_logprobs[0].logprob,
        )
        assert len(token.top_logprobs) == 3
    chunks = client.chat.completions.create(**asked, stream=True)
    told = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs]
    assert [token.token for one in told for token in one.content] == [t.token for t in tokens]


def test_a_forbidden_token_is_not_said(client):
    tokens = client.post(
        "/tokenize", body={"model": MODEL, "content": " Paris"}, cast_to=dict[str, object]
    )
    [paris] = tokens["tokens"]
    [choice] = client.chat.completions.create(
        model=MODEL,
        messages=FRANCE,
        temperature=0,
        max_tokens=12,
        logit_bias={str(paris): -100},
    ).choices
    assert choice.message.content
    assert " Paris" not in choice.message.content


def test_an_answer_is_json_of_a_schema(client):
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    [choice] = client.chat.completions.create(
        model=MODEL, messages=FRANCE, temperature=0, max_tokens=32, response_format=form
    ).choices
    assert json.loads(choice.message.content) == {"city": "Paris"}


@pytest.fixture
def unchecked(client):
    """For what OpenAI's types do not know: base64, and pieces of a text that are not the last."""
    return client.copy(_extra_kwargs={"_strict_response_validation": False})


def test_a_text_is_gone_on_with(client, unchecked):
    asked = {"model": MODEL, "prompt": "The capital of France is", "temperature": 0}
    [choice] = client.completions.create(**asked, max_tokens=3, logprobs=1).choices
    assert "Paris" in choice.text
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset[0] == 0
    pieces = unchecked.completions.create(**asked, max_tokens=3, stream=True, echo=True)
    text = "".join(piece.choices[0].text for piece in pieces)
    assert text == "The capital of France is" + choice.text


def test_texts_of_one_meaning_lie_near_each_other(client, unchecked):
    asked = unchecked.embeddings.create(
        model=MODEL,
        input=["The cat sat on the mat.", "The cat sat on the rug.", "Stock prices fell in May."],
    )
    cat, other_cat, stocks = (item.embedding for item in asked.data)

    def nearness(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert nearness(cat, cat) == pytest.approx(1, abs=1e-4)
    assert nearness(cat, other_cat) > nearness(cat, stocks)
    assert asked.usage.prompt_tokens == 20
    plain = client.embeddings.create(
        model=MODEL, input="The cat sat on the mat.", encoding_format="float"
    )
    assert plain.data[0].embedding == pytest.approx(cat, abs=1e-6)


def test_a_prompt_counts_as_many_tokens_as_its_answer_says(client):
    body = {"model": MODEL, "messages": FRANCE}
    counted = client.post("/chat/count_tokens", body=body, cast_to=dict[str, object])
    answer = client.chat.completions.create(**body, max_tokens=1)
    assert counted["input_tokens"] == answer.usage.prompt_tokens == 27


def test_threads_are_created_retrieved_updated_and_deleted(client):
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": "first"}], metadata={"a": "1"}
    )
    assert client.beta.threads.retrieve(thread.id).metadata == {"a": "1"}
    changed = client.beta.threads.update(thread.id, metadata={"a": "2"})
    assert (changed.id, changed.metadata) == (thread.id, {"a": "2"})
    deleted = client.beta.threads.delete(thread.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (thread.id, True, "thread.deleted")
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.retrieve(thread.id)


def test_messages_are_created_listed_and_retrieved(client):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "first"}])
    second = client.beta.threads.messages.create(thread.id, role="user", content="second")
    assert second.content[0].text.value == "second"
    listed = list(client.beta.threads.messages.list(thread.id))
    assert [message.content[0].text.value for message in listed] == ["second", "first"]
    assert client.beta.threads.messages.retrieve(second.id, thread_id=thread.id).id == second.id


def test_paging_meets_every_message_once(client):
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": str(n)} for n in range(45)]
    )
    listed = client.beta.threads.messages.list(thread.id, order="asc", limit=10)
    assert [m.content[0].text.value for m in listed] == [str(n) for n in range(45)]


def test_a_prompt_too_long_is_an_error_with_its_code(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 9000}]
        )
    assert caught.value.code == "context_length_exceeded"


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def test_a_run_is_answered_by_the_model_and_kept_in_the_thread(client, smollm2_folder):
    assistant = client.beta.assistants.create(model=MODEL, temperature=0, name="Teacher")
    thread = client.beta.threads.create(messages=FRANCE)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert (run.status, run.model, run.usage.completion_tokens) == ("completed", MODEL, 8)
    [reply] = client.beta.threads.messages.list(thread.id, run_id=run.id)
    assert "Paris" in reply.content[0].text.value
    lines = (smollm2_folder / "threads" / thread.id / "messages.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines][1:] == [reply.id]


def test_a_run_calls_a_tool_and_goes_on_with_what_it_has_answered(client):
    assistant = client.beta.assistants.create(model=MODEL, temperature=0, tools=[WEATHER])
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "What is the weather in Rome?"}]},
        tool_choice="required",
        parallel_tool_calls=False,
        max_completion_tokens=120,
    )
    assert run.status == "requires_action"
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
    outputs = [{"tool_call_id": call.id, "output": "Sunny, 25 degrees."}]
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs
    ) as stream:
        stream.until_done()
    # A model this small may call again; what it read grew by the call and its answer.
    again = stream.get_final_run()
    assert again.status in ("completed", "requires_action", "incomplete")
    called, *_ = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc")
    assert called.step_details.tool_calls[0].function.output == "Sunny, 25 degrees."
