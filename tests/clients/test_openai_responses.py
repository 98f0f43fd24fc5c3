"""An independent client is the judge: `client.responses` of the newest `openai` package."""

from __future__ import annotations

import openai
import pydantic
import pytest

from jan_server.settings import Settings
from tests.running import CHECKED, served
from tests.tiny_gguf import write_tiny_gguf

MODEL = "smollm2-135m-instruct"
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
ADD = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}


@pytest.fixture
def client(settings, echo, write, data_folder):
    write("models/tiny/model.json", {"settings": {"ctx_len": 1024, "cpu_threads": 1}})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf", context_length=1024)
    with served(settings) as base, openai.OpenAI(base_url=f"{base}/v1", **CHECKED) as client:
        yield client


def test_a_response_is_created_retrieved_and_deleted(client):
    response = client.responses.create(model="echo", input="hello there", metadata={"a": "b"})
    assert (response.output_text, response.status) == ("hello there", "completed")
    assert response.usage.input_tokens_details.cached_tokens == 0
    again = client.responses.retrieve(response.id)
    assert again == response
    items = list(client.responses.input_items.list(response.id))
    assert [item.content[0].text for item in items] == ["hello there"]
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_a_stream_is_put_together(client):
    with client.responses.stream(model="echo", input="hello there") as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert response.output_text == "hello there"
    raw = client.responses.create(model="echo", input="hi", stream=True, store=False)
    assert [event.sequence_number for event in raw] == list(range(9))


def test_a_conversation_goes_on_and_is_a_thread(client):
    first = client.responses.create(model="echo", input="one")
    second = client.responses.create(model="echo", input="two", previous_response_id=first.id)
    assert second.output_text == "oneonetwo"
    [thread] = client.get("/threads", cast_to=list[dict[str, object]])
    page = client.get(f"/threads/{thread['id']}/messages", cast_to=dict[str, object])
    assert [message["role"] for message in page["data"]] == ["user", "assistant"] * 2


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_is_called_and_its_result_read(client, streams):
    asked = {"model": "echo", "input": CALL, "tools": [ADD]}
    if streams:
        with client.responses.stream(**asked) as stream:
            response = stream.get_final_response()
    else:
        response = client.responses.create(**asked)
    [call] = [item for item in response.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("add", '{"a": 1}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "it is 7"}
    by_id = client.responses.create(
        model="echo", previous_response_id=response.id, input=[result], tools=[ADD]
    )
    said = [{"role": "user", "content": CALL}, *response.output, result]
    by_items = client.responses.create(model="echo", input=said, tools=[ADD], store=False)
    assert "it is 7" in by_id.output_text
    assert by_items.output_text == by_id.output_text


def test_an_answer_is_parsed_as_its_type(client):
    class Answer(pydantic.BaseModel):
        right: bool

    asked = {"model": "tiny", "input": "Right?", "max_output_tokens": 200}
    response = client.responses.parse(**asked, text_format=Answer)
    assert response.output_parsed.right in (True, False)
    with client.responses.stream(**asked, text_format=Answer) as stream:
        assert stream.get_final_response().output_parsed.right in (True, False)


def test_errors_are_the_packages_own(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="echo", input="hi", previous_response_id="resp_x_1")
    assert missing.value.code == "response_not_found"
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
    with pytest.raises(openai.BadRequestError, match="reads text only"):
        client.responses.create(model="echo", input=[{"role": "user", "content": [image]}])
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.create(model="echo", input="hi", background=True)


@pytest.mark.model
def test_the_capital_of_france_is_paris(smollm2_folder):
    settings = Settings(data_folder=smollm2_folder, fsync=False)
    with served(settings) as base, openai.OpenAI(base_url=f"{base}/v1", **CHECKED) as client:
        response = client.responses.create(
            model=MODEL, input="What is the capital of France?", temperature=0, store=False
        )
    assert "Paris" in response.output_text
    assert response.usage.input_tokens == 27
