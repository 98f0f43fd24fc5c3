"""What every engine must do. A test of an engine subclasses `EngineContract` and says two things:

    class TestMine(EngineContract):
        @pytest.fixture(scope="class")
        @classmethod
        def model(cls) -> Iterator[LoadedModel]:
            loaded = MyEngine().load(ModelSpec(id="m", engine="mine", ctx_len=64))
            yield loaded
            loaded.close()

        prompt = "some words that it goes on from with at least eight pieces of text"

Its answers at temperature 0, and those with a seed, must not differ from run to run.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, cast

import msgspec
import pytest

from jan_server.engines.base import (
    Event,
    Finished,
    GenerationRequest,
    LoadedModel,
    Piece,
    Progress,
    Started,
)
from jan_server.errors import ContextLengthExceeded


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


class EngineContract:
    """`prompt`: what the model answers with at least eight tokens, greedily and without a stop."""

    prompt: str

    def request(self, **changes: Any) -> GenerationRequest:
        plain = GenerationRequest(prompt=self.prompt, temperature=0.0, max_tokens=8)
        return msgspec.structs.replace(plain, **changes)

    def events(self, model: LoadedModel, **changes: Any) -> list[Event]:
        return list(model.generate(self.request(**changes)))

    def test_the_model_says_how_long_its_context_is(self, model: LoadedModel) -> None:
        assert model.info.context_length > 0
        assert model.info.device

    def test_started_comes_first_and_finished_last_and_both_once(self, model: LoadedModel) -> None:
        events = self.events(model)
        kinds = [type(event) for event in events]
        assert (kinds[0], kinds[-1]) == (Started, Finished)
        assert (kinds.count(Started), kinds.count(Finished)) == (1, 1)

    def test_progress_comes_before_the_text_and_ends_at_the_whole_prompt(
        self, model: LoadedModel
    ) -> None:
        started, *rest = self.events(model)
        done = [event.prompt_tokens_done for event in rest if isinstance(event, Progress)]
        assert isinstance(started, Started)
        assert 0 <= started.cached_tokens <= started.prompt_tokens
        assert done == sorted(done)
        assert all(count <= started.prompt_tokens for count in done)
        kinds = [type(event) for event in rest]
        assert Progress not in kinds[kinds.index(Piece) :]

    def test_pieces_are_never_empty_and_their_tokens_are_counted(self, model: LoadedModel) -> None:
        *events, finished = self.events(model)
        pieces = [event for event in events if isinstance(event, Piece)]
        assert isinstance(finished, Finished)
        assert all(piece.text for piece in pieces)
        assert sum(piece.tokens for piece in pieces) <= finished.completion_tokens == 8

    def test_max_tokens_ends_it_with_length(self, model: LoadedModel) -> None:
        assert self.events(model, max_tokens=3)[-1] == Finished("length", 3)
        assert self.events(model, max_tokens=1)[-1] == Finished("length", 1)

    def test_a_shorter_answer_is_the_beginning_of_a_longer_one(self, model: LoadedModel) -> None:
        shorter = text_of(self.events(model, max_tokens=4))
        # The limit may cut a character in two; what is left of it is shown as U+FFFD.
        assert text_of(self.events(model)).startswith(shorter.rstrip("\ufffd"))

    def test_the_same_request_gives_the_same_text(self, model: LoadedModel) -> None:
        assert text_of(self.events(model)) == text_of(self.events(model))
        sampled = [text_of(self.events(model, temperature=1.0, seed=7)) for _ in range(2)]
        assert sampled[0] == sampled[1]

    def test_the_prompt_cache_changes_no_text(self, model: LoadedModel) -> None:
        cached = text_of(self.events(model))
        assert text_of(self.events(model, cache_prompt=False)) == cached

    def test_a_stop_string_ends_it_and_is_never_shown(self, model: LoadedModel) -> None:
        whole = text_of(self.events(model))
        for start, length in ((len(whole) // 2, 1), (len(whole) // 3, 3), (0, 2)):
            stop = whole[start : start + length]
            events = self.events(model, stop=("never in it \x00", stop))
            assert text_of(events) == whole[: whole.find(stop)]
            assert isinstance(finished := events[-1], Finished)
            assert finished.reason == "stop"

    def test_closing_at_any_event_leaves_a_model_that_answers(self, model: LoadedModel) -> None:
        whole = self.events(model)
        for count in range(1, len(whole) + 1):
            generator = cast("Generator[Event]", model.generate(self.request()))
            with closing(generator):
                taken = [next(generator) for _ in range(min(count, len(whole)))]
            assert isinstance(taken[0], Started)
        assert text_of(self.events(model)) == text_of(whole)

    def test_a_generator_that_was_never_begun_costs_nothing(self, model: LoadedModel) -> None:
        cast("Generator[Event]", model.generate(self.request())).close()
        assert isinstance(self.events(model)[-1], Finished)

    def test_a_prompt_beyond_the_context_is_refused_before_started(
        self, model: LoadedModel
    ) -> None:
        length = model.info.context_length
        with pytest.raises(ContextLengthExceeded, match=f"context holds {length}"):
            next(iter(model.generate(self.request(prompt="word " * (length + 1)))))
        assert isinstance(self.events(model)[-1], Finished)

    def test_the_answer_ends_where_the_context_does(self, model: LoadedModel) -> None:
        events = self.events(model, max_tokens=10**6)
        started, finished = events[0], events[-1]
        assert isinstance(started, Started)
        assert isinstance(finished, Finished)
        assert started.prompt_tokens + finished.completion_tokens <= model.info.context_length
