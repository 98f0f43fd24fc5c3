from __future__ import annotations

import re

import pytest
from openapi_spec_validator import validate

# operationId and tag of each operation of Jan's own document (v0.4.4).
JANS = {
    ("post", "/chat/completions"): ("createChatCompletion", "Chat"),
    ("get", "/models"): ("listModels", "Models"),
    ("get", "/models/download/{model_id}"): ("downloadModel", "Models"),
    ("get", "/models/{model_id}"): ("retrieveModel", "Models"),
    ("delete", "/models/{model_id}"): ("deleteModel", "Models"),
    ("post", "/threads"): ("createThread", "Threads"),
    ("get", "/threads"): ("listThreads", "Threads"),
    ("get", "/threads/{thread_id}"): ("getThread", "Threads"),
    ("patch", "/threads/{thread_id}"): ("modifyThread", "Threads"),
    ("delete", "/threads/{thread_id}"): ("deleteThread", "Threads"),
    ("get", "/assistants"): ("listAssistants", "Assistants"),
    ("get", "/assistants/{assistant_id}"): ("getAssistant", "Assistants"),
    ("get", "/threads/{thread_id}/messages"): ("listMessages", "Messages"),
    ("post", "/threads/{thread_id}/messages"): ("createMessage", "Messages"),
    ("get", "/threads/{thread_id}/messages/{message_id}"): ("retrieveMessage", "Messages"),
}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def test_the_document_is_valid(document):
    validate(document)


def test_it_keeps_jans_operations_with_their_names_and_tags(document):
    found = {
        (method, path): (operation["operationId"], operation["tags"][0])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "servers"
    }
    assert {key: found[key] for key in JANS} == JANS
    assert len({name for name, _ in found.values()}) == len(found)


def test_it_says_which_errors_there_are(document):
    chat = document["paths"]["/chat/completions"]["post"]["responses"]
    assert {"200", "400", "401", "403", "404", "413", "422", "503"} <= chat.keys()
    assert "model_not_found" in chat["404"]["description"]
    assert "context_length_exceeded" in chat["400"]["description"]
    assert "model_not_downloaded" in chat["404"]["description"]
    assert "text/event-stream" in chat["200"]["content"]
    created = document["paths"]["/threads"]["post"]["responses"]
    assert "assistant_not_found" in created["404"]["description"]
    assert "disk_full" in created["507"]["description"]


def test_the_page_shows_it_without_asking_another_host(client):
    page = client.get("/")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
    assert not re.search(r"""(src|href|url\()=?["'(]?\s*(https?:)?//""", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
