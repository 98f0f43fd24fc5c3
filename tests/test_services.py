from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from jan_server import services
from jan_server.errors import ShuttingDown
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.store.locks import Locks
from jan_server.types.chat import ChatCompletionRequest, ChatMessage
from tests.running import served
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def tiny(write, data_folder):
    write("models/tiny/model.json", {"settings": {"cpu_threads": 1, "ngl": 0}})
    write_tiny_gguf(data_folder / "models/tiny/tiny.gguf")


@pytest.mark.parametrize("layers", [0, 100])
def test_the_start_line_names_the_model_and_what_computes_it(settings, tiny, write, layers):
    """As many layers for a GPU as there can be, which Jan asks for, are none without a GPU."""
    write("models/tiny/model.json", {"settings": {"cpu_threads": 1, "ngl": layers}})
    said = Services(settings).describe_model()
    assert said.startswith("tiny, ctransformers on cpu (")
    assert said.endswith("), 1 threads")


def test_an_engine_without_a_device_is_only_named(data_folder, echo):
    settings = Settings(data_folder=data_folder, default_model="echo")
    assert Services(settings).describe_model() == "echo, echo"


def test_a_manifest_with_an_unknown_engine_is_said_at_the_start(data_folder, write):
    write("models/odd/model.json", {"engine": "steam"})
    write_tiny_gguf(data_folder / "models/odd/x.gguf")
    settings = Settings(data_folder=data_folder, default_model="odd")
    assert "No engine is called 'steam'" in Services(settings).describe_model()


def test_after_draining_new_chats_are_refused(settings, echo):
    async def run():
        services = Services(settings)
        await services.drain(1)
        request = ChatCompletionRequest(
            messages=[ChatMessage(role="user", content="x")], model="echo"
        )
        with pytest.raises(ShuttingDown):
            await services.completions.chats.complete(request, {})
        assert services.closing.is_set()
        await services.close()

    asyncio.run(run())


def test_changes_that_wait_for_another_program_keep_nobody_from_reading(settings, write):
    write("threads/busy/thread.json", {"title": "busy"})
    write("threads/free/messages.jsonl", '{"role":"user","content":"hi"}')
    with served(settings) as base, ThreadPoolExecutor(12) as clients:
        another = Locks(settings.data_folder / ".jan_server" / "locks")
        with another.hold("threads/busy"):
            address = f"{base}/v1/threads/busy"
            changes = [
                clients.submit(httpx2.patch, address, json={"title": "x"}, timeout=60)
                for _ in range(12)
            ]
            read = httpx2.get(f"{base}/v1/threads/free/messages", timeout=60)
            assert read.status_code == 200
            assert not any(change.done() for change in changes)
        assert [change.result().status_code for change in changes] == [200] * 12


@pytest.mark.parametrize(
    ("setting", "prompt", "code"),
    [
        ({"stall_patience": 0.3}, "a [[hang]]", "engine_died"),
        ({"load_patience": 0.0}, "a", "model_loading"),
    ],
)
def test_settings_of_models_reach_them(data_folder, echo, setting, prompt, code):
    with served(Settings(data_folder=data_folder, watch="off", **setting)) as base:
        messages = [{"role": "user", "content": prompt}]
        body = {"model": echo, "messages": messages}
        answer = httpx2.post(f"{base}/v1/chat/completions", json=body, timeout=60)
        assert answer.json()["error"]["code"] == code


def test_models_share_the_memory_that_the_settings_leave_them(data_folder, write, monkeypatch):
    for id in ("one", "two"):
        write(f"models/{id}/model.json", {"settings": {"cpu_threads": 1, "ctx_len": 64}})
        write_tiny_gguf(data_folder / f"models/{id}/{id}.gguf")

    def in_memory(budget):
        settings = Settings(data_folder=data_folder, watch="off", memory_budget=budget)
        with served(settings) as base:
            for id in ("one", "two"):
                httpx2.put(f"{base}/v1/models/{id}/start", timeout=60).raise_for_status()
            return [
                model["id"] for model in httpx2.get(f"{base}/healthz", timeout=60).json()["loaded"]
            ]

    assert in_memory(2**40) == ["one", "two"]
    assert in_memory(1) == ["two"]
    monkeypatch.setattr(services, "default_budget", lambda: 1)
    assert in_memory(2**40) == ["one", "two"]
    assert in_memory(None) == ["two"]
