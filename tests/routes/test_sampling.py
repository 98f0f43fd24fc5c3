"""Each parameter has its effect, on a tiny model of random weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.tiny_gguf import write_tiny_gguf

# What else it is given makes the prompt another one, which the answer shows.
TEMPLATE = (
    "{% for message in messages %}{{ message.content }}{% endfor %}"
    "{{ mood }}{% if reasoning_effort == 'high' %} more{% endif %}"
)
P, Q = 50, 83
"""The ids of the tokens `P` and `q`."""

OBJECT = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2]}},
    "required": ["a"],
    "additionalProperties": False,
}

Ask = Callable[..., dict[str, Any]]
Tell = Callable[..., None]


@pytest.fixture(scope="module")
def tiny(shared_folder: Path) -> str:
    return put_model(shared_folder, "tiny")


@pytest.fixture
def tell(shared_folder: Path) -> Tell:
    """Changes what the manifest of the model `told` says; at first it says as much as tiny's."""
    put_model(shared_folder, "told")
    return lambda **said: write_manifest(shared_folder / "models/told", **said)


def put_model(data_folder: Path, id: str) -> str:
    folder = data_folder / "models" / id
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder)
    if not (folder / "tiny.gguf").exists():
        write_tiny_gguf(folder / "tiny.gguf", chat_template=TEMPLATE, add_bos=True)
    return id


def write_manifest(folder: Path, settings: Any = None, parameters: Any = None) -> None:
    all_settings = {"ctx_len": 128, "cpu_threads": 1, **(settings or {})}
    manifest = {"settings": all_settings, "parameters": parameters or {}}
    (folder / "model.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def ask(shared_client: TestClient, tiny: str) -> Ask:
    """The first choice, of a request that is the same but for what is given."""
    same = {
        "model": tiny,
        "messages": [{"role": "user", "content": "hello"}],
        "seed": 1,
        "temperature": 1.0,
        "max_tokens": 24,
    }

    def post(**more: Any) -> dict[str, Any]:
        answer = shared_client.post("/v1/chat/completions", json={**same, **more})
        assert answer.status_code == 200, answer.text
        choice: dict[str, Any] = answer.json()["choices"][0]
        return choice

    return post


def text(choice: dict[str, Any]) -> str:
    said: str = choice["message"]["content"]
    return said


def answered(body: str, *, stream: bool) -> tuple[str, str]:
    """The text of the only choice, of a chat or a text, and why it ended."""
    *events, _done, _end = body.split("\n\n") if stream else (body, "", "")
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    said = [choice.get("delta") or choice.get("message") or choice for choice in choices]
    texts = [part.get("content") or part.get("text") or "" for part in said]
    return "".join(texts), choices[-1]["finish_reason"]


def test_with_a_seed_the_answer_is_the_same(ask: Ask) -> None:
    assert text(ask()) == text(ask()) != text(ask(seed=2))


def test_with_a_seed_the_answer_is_the_same_whatever_else_runs(ask: Ask, tell: Tell) -> None:
    alone = text(ask(model="told"))
    tell(settings={"n_parallel": 3})

    def answer(number: int) -> str:
        other = [{"role": "user", "content": f"hello {number}"}]
        more = {"messages": other, "seed": number} if number % 2 else {}
        return text(ask(model="told", **more))

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(answer, range(16)))
    assert answers[::2] == [alone] * 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.1),
        ("top_p", 0.05),
        ("top_k", 1),
        ("min_p", 1),
        ("typical_p", 0.05),
        ("mirostat", 2),
        ("presence_penalty", 2),
        ("frequency_penalty", 2),
        ("repeat_penalty", 1000),
        ("logit_bias", {str(P): 100}),
        ("logit_bias", [[P, 100]]),
        ("max_tokens", 3),
        ("stop", ["e"]),
        ("chat_template_kwargs", {"mood": " part"}),
        ("reasoning_effort", "high"),
    ],
)
def test_another_value_gives_another_answer(ask: Ask, name: str, value: Any) -> None:
    assert text(ask(**{name: value})) != text(ask())


def test_what_the_template_is_told_goes_before_the_effort(ask: Ask) -> None:
    told = {"reasoning_effort": "high"}
    assert text(ask(reasoning_effort="low", chat_template_kwargs=told)) == text(ask(**told))


@pytest.mark.parametrize(("name", "value"), [("mirostat_tau", 1.5), ("mirostat_eta", 1.0)])
def test_mirostat_has_two_values_of_its_own(ask: Ask, name: str, value: Any) -> None:
    assert text(ask(mirostat=2, **{name: value})) != text(ask(mirostat=2))


def test_mirostat_has_two_versions(ask: Ask) -> None:
    assert text(ask(mirostat=1, mirostat_tau=3)) != text(ask(mirostat=2, mirostat_tau=3))


def test_the_repeat_penalty_looks_back_as_far_as_it_is_told(ask: Ask) -> None:
    assert text(ask(repeat_penalty=1000, repeat_last_n=0)) == text(ask())


def test_a_token_that_is_favoured_is_said(ask: Ask) -> None:
    told = ask(logprobs=True, temperature=0)["logprobs"]["content"]
    assert list(b"P") not in [token["bytes"] for token in told]
    assert text(ask(logit_bias={str(P): 100})) == "P" * 24


@pytest.mark.parametrize(("banned", "said"), [(P, "q"), (Q, "P")])
@pytest.mark.parametrize("temperature", [0, 2])
def test_a_ban_leaves_only_the_other_of_two(
    ask: Ask, banned: int, said: str, temperature: float
) -> None:
    for bias in ({str(banned): -100}, [[banned, False]]):
        assert text(ask(regex="P|q", temperature=temperature, logit_bias=bias)) == said


def test_presence_counts_once_and_frequency_each_time(ask: Ask) -> None:
    """With both the first answer would be as the second."""
    bias = {str(P): 20}
    present = text(ask(temperature=0, logit_bias=bias, presence_penalty=2))
    frequent = text(ask(temperature=0, logit_bias=bias, frequency_penalty=2))
    assert present == "P" * 24
    assert re.fullmatch("P{2,12}[^P].*", frequent, re.DOTALL)


def test_an_end_that_is_ignored_does_not_end_the_answer(
    ask: Ask, shared_client: TestClient, tiny: str
) -> None:
    control = {"model": tiny, "content": "<|im_end|>", "add_special": False}
    [end] = shared_client.post("/v1/tokenize", json=control).json()["tokens"]
    ended = ask(logit_bias={str(end): 100})
    assert (text(ended), ended["finish_reason"]) == ("", "stop")
    ignored = ask(logit_bias={str(end): 100}, ignore_eos=True)
    assert ignored["finish_reason"] == "length"
    assert text(ignored) != ""


def test_likelihoods_are_the_models_own_and_fall(ask: Ask) -> None:
    [token, *_] = ask(logprobs=True, top_logprobs=20)["logprobs"]["content"]
    falling = [one["logprob"] for one in token["top_logprobs"]]
    assert len(falling) == 20
    assert falling == sorted(falling, reverse=True)
    assert token["logprob"] <= falling[0] < 0
    [greedy, *_] = ask(logprobs=True, top_logprobs=1, top_k=1)["logprobs"]["content"]
    assert greedy["logprob"] == pytest.approx(falling[0])


def test_each_of_several_choices_has_a_seed_of_its_own(shared_client: TestClient, ask: Ask) -> None:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello"}],
        "seed": 1,
        "temperature": 1.0,
        "max_tokens": 24,
        "n": 3,
    }
    choices = shared_client.post("/v1/chat/completions", json=body).json()["choices"]
    assert [text(choice) for choice in choices] == [text(ask(seed=seed)) for seed in (1, 2, 3)]


def test_texts_are_sampled_as_chats_are(shared_client: TestClient, tiny: str) -> None:
    def said(**more: Any) -> list[str]:
        body = {"model": tiny, "prompt": "hello", "temperature": 1.0, "max_tokens": 12, **more}
        choices = shared_client.post("/v1/completions", json=body).json()["choices"]
        return [choice["text"] for choice in choices]

    assert said(n=2, seed=1) == [*said(seed=1), *said(seed=2)]
    assert said(seed=1) != said(seed=2)
    assert said(logit_bias={str(P): 100}) == ["P" * 12]


def test_a_text_is_told_as_many_of_the_likeliest_as_were_asked_for(
    shared_client: TestClient, tiny: str
) -> None:
    """Of two tokens that are spelled alike one is told, so there can be fewer."""
    body = {"model": tiny, "prompt": "hello", "temperature": 0, "max_tokens": 1}
    told = [
        shared_client.post("/v1/completions", json={**body, "logprobs": count}).json()["choices"][0]
        for count in (0, 1, 5)
    ]
    assert [len(choice["logprobs"]["top_logprobs"][0]) for choice in told] == [1, 1, 5]


def test_a_manifest_says_it_of_texts_too(shared_client: TestClient, tell: Tell) -> None:
    tell(parameters={"max_tokens": 3, "logit_bias": [[P, 100]]})
    body = {"model": "told", "prompt": "hello"}
    for more, answer in (({}, "PPP"), ({"max_tokens": 5}, "PPPPP")):
        choices = shared_client.post("/v1/completions", json={**body, **more}).json()["choices"]
        assert [choice["text"] for choice in choices] == [answer]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("top_k", 1),
        ("min_p", 1),
        ("typical_p", 0.05),
        ("mirostat", 2),
        ("repeat_penalty", 1000),
        ("presence_penalty", 2),
        ("frequency_penalty", 2),
        ("logit_bias", {str(P): 100}),
    ],
)
def test_a_manifest_can_say_it_too(ask: Ask, tell: Tell, name: str, value: Any) -> None:
    plain, asked = text(ask(model="told")), text(ask(model="told", **{name: value}))
    tell(parameters={name: value})
    assert text(ask(model="told", **{name: None})) == asked != plain


@pytest.mark.parametrize(
    ("field", "value", "matches"),
    [
        ("regex", "[ab]{5}", lambda said: re.fullmatch("[ab]{5}", said)),
        ("guided_regex", "yes|no", lambda said: said in ("yes", "no")),
        ("grammar", 'start: "yes" | "no"', lambda said: said in ("yes", "no")),
        ("json_schema", {"type": "boolean"}, lambda said: isinstance(json.loads(said), bool)),
        (
            "response_format",
            {
                "type": "json_schema",
                "json_schema": {"name": "b", "strict": True, "schema": {"enum": ["b"]}},
            },
            lambda said: json.loads(said) == "b",
        ),
        (
            "response_format",
            {"type": "json_object", "schema": OBJECT},
            lambda said: json.loads(said) in ({"a": 1}, {"a": 2}),
        ),
    ],
)
@pytest.mark.parametrize("path", ["/chat/completions", "/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_held_to_its_form(
    shared_client: TestClient,
    tiny: str,
    path: str,
    field: str,
    value: Any,
    matches: Callable[[str], Any],
    stream: bool,
) -> None:
    body = {
        "model": tiny,
        "messages": [{"role": "user", "content": "hello"}],
        "prompt": "hello",
        "max_tokens": 64,
        "stream": stream,
        field: value,
    }
    said, reason = answered(shared_client.post(f"/v1{path}", json=body).text, stream=stream)
    assert reason == "stop"
    assert matches(said)


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/chat/completions", "regex", "("),
        ("/chat/completions", "grammar", "start: nothing"),
        ("/chat/completions", "json_schema", {"type": "no such"}),
        ("/chat/completions", "logit_bias", {"999999": 1}),
        ("/completions", "regex", "("),
        ("/completions", "prompt", [999]),
        ("/embeddings", "input", [999]),
        ("/detokenize", "tokens", [999]),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_cannot_read_is_a_400_before_the_first_byte(
    shared_client: TestClient, tiny: str, path: str, field: str, value: Any, stream: bool
) -> None:
    messages = [{"role": "user", "content": "hello"}]
    body = {"model": tiny, "messages": messages, "prompt": "x", "stream": stream, field: value}
    answer = shared_client.post(f"/v1{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"$.{field}")


def test_a_text_is_tokenised_as_each_server_does(shared_client: TestClient, tiny: str) -> None:
    def count(**sent: Any) -> int:
        body = {"model": tiny, **sent}
        number: int = shared_client.post("/v1/tokenize", json=body).json()["count"]
        return number

    assert count(prompt="hello") == count(text="hello") == count(content="hello") + 1
    assert count(prompt="hello", add_special_tokens=False) == count(content="hello")
    assert count(content="hello", add_special=True) == count(prompt="hello")


def test_a_text_that_is_gone_on_with_can_be_its_tokens(
    shared_client: TestClient, tiny: str
) -> None:
    def answer(prompt: Any) -> str:
        body = {"model": tiny, "prompt": prompt, "temperature": 0, "max_tokens": 8}
        said: str = shared_client.post("/v1/completions", json=body).json()["choices"][0]["text"]
        return said

    tokens = shared_client.post("/v1/tokenize", json={"model": tiny, "prompt": "hello"}).json()[
        "tokens"
    ]
    assert answer("hello") == answer(tokens) != answer(tokens[:-1])


def test_embeddings_have_length_one_and_are_the_same_for_the_same_text(
    shared_client: TestClient, tiny: str
) -> None:
    body = {"model": tiny, "input": ["hello", "world", "hello"]}
    one, other, again = (
        item["embedding"] for item in shared_client.post("/v1/embeddings", json=body).json()["data"]
    )
    assert sum(x * x for x in one) == pytest.approx(1, abs=1e-5)
    assert one == again != other
