"""An independent client is the judge: the `openai` package, unmodified, against a real server."""

from __future__ import annotations

import openai
import pytest

from jan_server.settings import Settings
from tests.running import served

pytestmark = [
    pytest.mark.model,
    # OpenAI deprecated its Assistants API; its SDK says so at every call.
    pytest.mark.filterwarnings("ignore:.*Assistants API is deprecated:DeprecationWarning"),
]
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def client(smollm2_folder):
    settings = Settings(data_folder=smollm2_folder, fsync=False)
    with served(settings) as base, openai.OpenAI(base_url=f"{base}/v1", api_key="none") as client:
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
