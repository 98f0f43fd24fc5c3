from __future__ import annotations

from jan_server import __version__


def test_health_says_what_is_loaded(client, echo):
    assert client.get("/healthz").json() == {"status": "ok", "version": __version__, "models": []}
    client.post(
        "/v1/chat/completions",
        json={"model": echo, "messages": [{"role": "user", "content": "hi"}]},
    )
    assert client.get("/healthz").json()["models"] == ["echo"]
