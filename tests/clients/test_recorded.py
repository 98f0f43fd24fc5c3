"""Programs that are too large for a test: what they ask for, as they did, and need of the answers.

Continue's, Open WebUI's, Claude Code's and Codex's calls were written down between those programs
and a server of ours, and are shortened where they only say more of the same. Today's Jan is as its
providers are described.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from jan_server.settings import Settings
from tests import calling
from tests.running import served

FRANCE = {"role": "user", "content": "What is the capital of France?"}
READ = {
    "type": "function",
    "function": {
        "name": "Read",
        "description": "Read a file from the local file system.",
        "parameters": {
            "type": "object",
            "required": ["filepath"],
            "properties": {"filepath": {"type": "string", "description": "The path of the file"}},
        },
    },
}
NODE = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate, br",
    "Authorization": "Bearer none",
    "Content-Type": "application/json",
    "User-Agent": "ls/JS 5.23.2",
    "X-Stainless-Retry-Count": "0",
}
AIOHTTP = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br",
    "Authorization": "Bearer none",
    "Content-Type": "application/json",
    "User-Agent": "Python/3.11 aiohttp/3.14.5",
}
WEBVIEW = {
    "Authorization": "Bearer none",
    "Content-Type": "application/json",
    "X-Api-Key": "none",
    "Origin": "tauri://localhost",
}
WINDOWS = {**WEBVIEW, "Origin": "http://tauri.localhost"}
CLAUDE = {
    "Accept": "application/json",
    "Authorization": "Bearer none",
    "Content-Type": "application/json",
    "User-Agent": "claude-cli/2.1.197 (external, sdk-cli)",
    "X-Stainless-Retry-Count": "0",
    "anthropic-beta": "claude-code-20250219,context-management-2025-06-27,effort-2025-11-24",
    "anthropic-version": "2023-06-01",
}
CODEX = {
    "Accept": "text/event-stream",
    "Authorization": "Bearer none",
    "Content-Type": "application/json",
    "x-codex-beta-features": "remote_compaction_v2",
}


class Asked(NamedTuple):
    """A chat as a program asks for it: its headers, and the fields beside model and messages."""

    headers: dict[str, str]
    fields: dict[str, Any]


CHATS = {
    "Continue 1.5.47": Asked(
        NODE, {"stream": True, "tools": [READ], "stream_options": {"include_usage": True}}
    ),
    "Open WebUI 0.12.4": Asked(AIOHTTP, {"stream": True, "temperature": 0}),
    "Open WebUI 0.12.4, a title": Asked(AIOHTTP, {"stream": False, "max_tokens": 1000}),
    "today's Jan": Asked(WEBVIEW, {"stream": True, "tools": [], "tool_choice": "auto"}),
    "today's Jan on Windows": Asked(WINDOWS, {"stream": True}),
}


@pytest.fixture(scope="module", params=[None, "none"], ids=["no key", "a key"])
def base(request, tmp_path_factory):
    """A server that needs no key and takes any, and one that has the key which all send."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        calling.install(folder / "engine", patch)
        calling.put_model(folder / "jan")
        settings = Settings(data_folder=folder / "jan", fsync=False, api_key=request.param)
        with served(settings) as base:
            yield base


def ask(base, method, path, headers, body=None):
    """The answer's status, its headers and its text."""
    connection = HTTPConnection(urlsplit(base).netloc, timeout=60)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode()
    finally:
        connection.close()


def chat(base, asked, *, says):
    body = {"model": "calling", "messages": [{**FRANCE, "content": says}], **asked.fields}
    return ask(base, "POST", "/v1/chat/completions", asked.headers, body)


def chunks(text):
    """Those of a stream, which ends as OpenAI's does."""
    *events, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("asked", CHATS.values(), ids=CHATS)
def test_a_chat_is_answered(base, asked):
    status, headers, text = chat(base, asked, says="hello there")
    assert status == 200
    assert headers["access-control-allow-origin"] == asked.headers.get("Origin")
    if not asked.fields["stream"]:
        [choice] = json.loads(text)["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("hello there", "stop")
        return
    told = chunks(text)
    choices = [choice for chunk in told for choice in chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(each["delta"].get("content") or "" for each in choices) == "hello there"
    assert choices[-1]["finish_reason"] == "stop"
    usage = told[-1]["usage"]["total_tokens"] if "stream_options" in asked.fields else 0
    assert (usage > 0) == ("stream_options" in asked.fields)


def test_continue_is_told_of_a_call(base):
    _, _, text = chat(base, CHATS["Continue 1.5.47"], says='call Read {"filepath": "a.py"}')
    choices = [choice for chunk in chunks(text) for choice in chunk["choices"]]
    calls = [call for each in choices for call in each["delta"].get("tool_calls", ())]
    assert (calls[0]["index"], calls[0]["function"]["name"]) == (0, "Read")
    arguments = "".join(call["function"]["arguments"] for call in calls)
    assert json.loads(arguments) == {"filepath": "a.py"}
    assert choices[-1]["finish_reason"] == "tool_calls"


def data(text):
    """The events of a stream whose events have names."""
    lines = [line for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_claude_code_is_told_of_a_call(base):
    cached = {"cache_control": {"type": "ephemeral"}}
    say = 'call Read {"filepath": "a.py"}'
    thoughts = {"type": "clear_thinking_20251015", "keep": "all"}
    body = {
        "model": "calling",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Today is Sunday.", **cached}]},
            {"role": "system", "content": "These skills are there: none."},
            {"role": "user", "content": [{"type": "text", "text": say, **cached}]},
        ],
        "system": [{"type": "text", "text": "You are a Claude agent.", **cached}],
        "tools": [{"name": "Read", "input_schema": READ["function"]["parameters"]}],
        "metadata": {"user_id": '{"session_id":"a89accd5"}'},
        "max_tokens": 32000,
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [thoughts]},
        "output_config": {"effort": "high"},
        "stream": True,
    }
    status, _, text = ask(base, "POST", "/v1/messages?beta=true", CLAUDE, body)
    told = data(text)
    assert (status, told[-1]["type"]) == (200, "message_stop")
    [call] = [e["content_block"] for e in told if e["type"] == "content_block_start"]
    assert (call["type"], call["name"]) == ("tool_use", "Read")
    pieces = [e["delta"]["partial_json"] for e in told if e["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"filepath": "a.py"}


def test_codex_is_told_of_a_call(base):
    """With `web_search` and `features.multi_agent` switched off, as it has to be."""
    message = {"type": "message", "role": "user"}
    say = 'call exec_command {"cmd": "ls"}'
    parameters = {"type": "object", "properties": {"cmd": {"type": "string"}}}
    tool = {"type": "function", "name": "exec_command", "strict": False, "parameters": parameters}
    body = {
        "model": "calling",
        "stream": True,
        "input": [
            {
                **message,
                "role": "developer",
                "content": [{"type": "input_text", "text": "Be Codex"}],
            },
            {**message, "content": [{"type": "input_text", "text": say}]},
        ],
        "tools": [tool],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "01a224ca",
        "client_metadata": {"session_id": "01a224ca"},
    }
    status, _, text = ask(base, "POST", "/v1/responses", CODEX, body)
    last = data(text)[-1]
    assert (status, last["type"]) == (200, "response.completed")
    [call] = last["response"]["output"]
    assert (call["name"], json.loads(call["arguments"])) == ("exec_command", {"cmd": "ls"})


@pytest.mark.parametrize("headers", [AIOHTTP, WEBVIEW, WINDOWS])
def test_models_are_listed_as_these_programs_need_them(base, headers):
    status, got, text = ask(base, "GET", "/v1/models", headers)
    [model] = json.loads(text)["data"]
    assert (status, model["id"], model["object"]) == (200, "calling", "model")
    assert got["access-control-allow-origin"] == headers.get("Origin")


@pytest.mark.parametrize("headers", [WEBVIEW, WINDOWS])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions"])
def test_the_webview_may_send_its_headers(base, headers, path):
    """Browsers send no key along when they ask."""
    asking = {
        "Origin": headers["Origin"],
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-api-key",
    }
    status, got, _ = ask(base, "OPTIONS", path, asking)
    assert (status, got["access-control-allow-origin"]) == (204, headers["Origin"])
    assert got["access-control-allow-headers"] == "authorization,content-type,x-api-key"


def test_open_webui_finds_an_ollama_too(base):
    """What it asks at its start and before each list of models."""
    assert json.loads(ask(base, "GET", "/api/version", AIOHTTP)[2])["version"]
    [model] = json.loads(ask(base, "GET", "/api/tags", AIOHTTP)[2])["models"]
    assert {"name", "model", "modified_at", "size", "digest", "details"} <= model.keys()
    assert isinstance(json.loads(ask(base, "GET", "/api/ps", AIOHTTP)[2])["models"], list)
    asked = {"model": "calling", "messages": [FRANCE], "options": {"temperature": 0}}
    _, _, text = ask(base, "POST", "/api/chat", AIOHTTP, {**asked, "stream": True})
    told = [json.loads(line) for line in text.splitlines()]
    assert "".join(each["message"]["content"] for each in told) == FRANCE["content"]
    assert [each["done"] for each in told] == [False] * (len(told) - 1) + [True]


def test_a_final_error_is_told_in_words_that_these_programs_show(base):
    for asked in CHATS.values():
        body = {"model": "nope", "messages": [FRANCE], **asked.fields}
        status, headers, text = ask(base, "POST", "/v1/chat/completions", asked.headers, body)
        told = json.loads(text)
        assert (status, headers["x-should-retry"]) == (404, "false")
        assert told["error"]["message"] == told["message"]
        assert "nope" in told["message"]
