"""An independent client is the judge: the `anthropic` package, unmodified, on a real server."""

from __future__ import annotations

import anthropic
import pydantic
import pytest

from jan_server.settings import Settings
from tests import calling
from tests.running import CHECKED, served
from tests.tiny_gguf import write_tiny_gguf

MODEL = "smollm2-135m-instruct"
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "get_weather", "description": "Today's weather.", "input_schema": CITY}


@pytest.fixture
def client(settings, echo, write, data_folder):
    write("models/tiny/model.json", {"settings": {"ctx_len": 1024, "cpu_threads": 1}})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf", context_length=1024)
    with served(settings) as base, anthropic.Anthropic(base_url=base, **CHECKED) as client:
        yield client


def ask(content, **more):
    messages = [{"role": "user", "content": content}]
    return {"model": "echo", "max_tokens": 50, "messages": messages, **more}


def test_a_message_is_created(client):
    message = client.messages.create(**ask("hello there", stop_sequences=["ere"]))
    assert (message.type, message.role, message.model) == ("message", "assistant", "echo")
    assert [(block.type, block.text) for block in message.content] == [("text", "hello th")]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "ere")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (2, 2)


def test_a_raw_stream_is_events_in_their_order(client):
    kinds = [event.type for event in client.messages.create(**ask("hello there"), stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_stream_makes_the_same_message(client):
    with client.messages.stream(**ask("hello there", system="Be brief.")) as stream:
        assert "".join(stream.text_stream) == "Be brief.\n\nhello there"
        message = stream.get_final_message()
    assert message.content[0].text == "Be brief.\n\nhello there"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (4, 4)


@pytest.mark.parametrize("streams", [False, True])
def test_a_tool_that_must_be_used_is_used_and_its_result_read(client, streams):
    asked = ask(
        "Weather?",
        model="tiny",
        max_tokens=200,
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    )
    if streams:
        with client.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked)
    [use] = message.content
    assert (use.type, use.name, message.stop_reason) == ("tool_use", "get_weather", "tool_use")
    assert use.input in ({"city": "Rome"}, {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    messages = [
        *asked["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    again = client.messages.create(
        **{**asked, "messages": messages, "tool_choice": {"type": "none"}, "max_tokens": 3}
    )
    assert again.stop_reason == "max_tokens"


@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_run_by_the_package_itself(settings, data_folder, tmp_path, monkeypatch, streams):
    """It would leave the conversation with the server, and keeps it itself when it may not."""
    calling.install(tmp_path / "engine", monkeypatch)
    model = calling.put_model(data_folder)

    @anthropic.beta_tool
    def add(a: int) -> str:
        """Adds.

        Args:
            a: To one.
        """
        return f"{a + 1}"

    asked = {**ask('call add {"a": 1}\ncall add {"a": 2}'), "model": model, "tools": [add]}
    with served(settings) as base, anthropic.Anthropic(base_url=base, **CHECKED) as client:
        runner = client.beta.messages.tool_runner(**asked, stream=streams)
        message = runner.until_done()
    assert message.content[0].text == "It is 2 and 3."


def test_an_answer_is_parsed_as_its_type(client):
    class City(pydantic.BaseModel):
        name: bool

    message = client.messages.parse(
        **ask("City?", model="tiny", max_tokens=200), output_format=City
    )
    assert message.parsed_output.name in (True, False)


def test_tokens_are_counted(client):
    body = ask("one two three")
    del body["max_tokens"]
    assert client.messages.count_tokens(**body).input_tokens == 3


def test_errors_are_the_packages_own(client):
    with pytest.raises(anthropic.NotFoundError) as missing:
        client.messages.create(**ask("hi", model="nope"))
    assert missing.value.body["error"]["type"] == "not_found_error"
    image = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    with pytest.raises(anthropic.BadRequestError, match="reads text only"):
        client.messages.create(**ask([{"type": "image", "source": image}]))


def test_a_stream_that_fails_raises(client):
    stream = client.messages.create(**ask("[[slow 0.1]] hello [[fail]]"), stream=True)
    with pytest.raises(anthropic.APIStatusError, match="engine failed"):
        list(stream)


@pytest.mark.model
def test_the_capital_of_france_is_paris(smollm2_folder):
    settings = Settings(data_folder=smollm2_folder, fsync=False)
    with served(settings) as base, anthropic.Anthropic(base_url=base, **CHECKED) as client:
        # The package's newest models take no temperature: it has no argument for it.
        greedy = {"temperature": 0}
        asked = {"model": MODEL, "max_tokens": 64, "messages": FRANCE, "extra_body": greedy}
        message = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = stream.get_final_message()
        counted = client.messages.count_tokens(model=MODEL, messages=FRANCE)
    assert "Paris" in message.content[0].text
    assert streamed.content[0].text == message.content[0].text
    assert (counted.input_tokens, message.stop_reason) == (27, "end_turn")
