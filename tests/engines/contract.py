"""What every engine must do. A test of an engine subclasses `EngineContract` and says two things:

    class TestMine(EngineContract):
        @pytest.fixture(scope="class")
        @classmethod
        def model(cls) -> Iterator[LoadedModel]:
            loaded = MyEngine().load(ModelSpec(id="m", engine="mine", ctx_len=64, slots=2))
            yield loaded
            loaded.close()

        prompt = "some words that it goes on from with at least eight pieces of text"

Its answers at temperature 0, and those with a seed, must not differ from run to run. One that
embeds subclasses `EmbeddingContract` too, one that constrains `ConstraintContract`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import zip_longest
from threading import Barrier
from typing import Any, cast

import msgspec
import pytest

from jan_server.engines.base import (
    Choice,
    Constraint,
    Embedded,
    Event,
    Finished,
    GenerationRequest,
    LoadedModel,
    Piece,
    Progress,
    Started,
)
from jan_server.engines.slots import common_prefix
from jan_server.errors import InvalidRequest

TEXTS = [
    "Hello world",
    " two  spaces and one at the end ",
    "line\n\nline\ttab\r\n",
    "Grüße, мир, 世界, שלום",
    "👋🏽 and 👩‍👩‍👧",
    "x = {'a': [1, 22, 333]};  // 3.14",
]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def choices_of(events: list[Event]) -> list[Choice]:
    return [choice for event in events if isinstance(event, Piece) for choice in event.choices]


class Answering:
    """How the contracts ask. `prompt`: greedily answered with at least eight tokens."""

    prompt: str

    def request(self, **changes: Any) -> GenerationRequest:
        plain = GenerationRequest(prompt=self.prompt, temperature=0.0, max_tokens=8)
        return msgspec.structs.replace(plain, **changes)

    def generator(self, model: LoadedModel, *, slot: int = 0, **changes: Any) -> Generator[Event]:
        request = self.request(**changes)
        assert isinstance(request.prompt, str)
        events = model.generate(model.tokenize(request.prompt), request, slot=slot)
        return cast("Generator[Event]", events)

    def events(self, model: LoadedModel, *, slot: int = 0, **changes: Any) -> list[Event]:
        return list(self.generator(model, slot=slot, **changes))

    def text(self, model: LoadedModel, *, slot: int = 0, **changes: Any) -> str:
        return text_of(self.events(model, slot=slot, **changes))


class EngineContract(Answering):
    def test_the_model_says_what_it_is(self, model: LoadedModel) -> None:
        assert model.info.context_length > 0
        assert model.info.device
        assert model.info.slots == 2

    # -- tokens

    @pytest.mark.parametrize("text", TEXTS)
    def test_tokens_spell_the_text_they_come_from(self, model: LoadedModel, text: str) -> None:
        tokens = model.tokenize(text, bos=False)
        assert model.detokenize(tokens) == text
        assert model.tokenize(text)[-len(tokens) :] == tokens

    def test_no_text_is_no_tokens(self, model: LoadedModel) -> None:
        assert model.tokenize("", bos=False) == []
        assert model.detokenize([]) == ""

    @pytest.mark.parametrize("token", [-1, 2**31 - 1, 2**63])
    def test_an_id_that_is_no_token_is_refused(self, model: LoadedModel, token: int) -> None:
        with pytest.raises(InvalidRequest):
            model.detokenize([*model.tokenize(self.prompt), token])

    def test_nothing_is_wrong_with_a_plain_request(self, model: LoadedModel) -> None:
        model.check(self.request())
        model.check(self.request(prompt=tuple(model.tokenize(self.prompt))))

    # -- events

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
        assert done == sorted(done)
        assert done[-1] == len(model.tokenize(self.prompt))
        # What comes with the text says no more: a token showed nothing.
        first = next(place for place, event in enumerate(rest) if isinstance(event, Piece))
        assert {e for e in rest[first:] if isinstance(e, Progress)} <= {Progress(done[-1])}

    def test_pieces_are_never_empty_and_their_tokens_are_counted(self, model: LoadedModel) -> None:
        *events, finished = self.events(model)
        pieces = [event for event in events if isinstance(event, Piece)]
        assert isinstance(finished, Finished)
        assert all(piece.text for piece in pieces)
        assert sum(piece.tokens for piece in pieces) <= finished.completion_tokens == 8

    def test_it_says_how_long_its_parts_took(self, model: LoadedModel) -> None:
        finished = self.events(model)[-1]
        assert isinstance(finished, Finished)
        assert min(finished.prompt_seconds, finished.answer_seconds) >= 0

    # -- where an answer ends

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_max_tokens_ends_it_with_length(self, model: LoadedModel, count: int) -> None:
        finished = self.events(model, max_tokens=count)[-1]
        assert isinstance(finished, Finished)
        assert (finished.reason, finished.completion_tokens) == ("length", count)

    def test_a_shorter_answer_is_the_beginning_of_a_longer_one(self, model: LoadedModel) -> None:
        shorter = self.text(model, max_tokens=4)
        # The limit may cut a character in two; what is left of it is shown as U+FFFD.
        assert self.text(model).startswith(shorter.rstrip("\ufffd"))

    def test_the_answer_ends_where_the_context_does(self, model: LoadedModel) -> None:
        prompt_tokens = len(model.tokenize(self.prompt))
        finished = self.events(model, max_tokens=10**6)[-1]
        assert isinstance(finished, Finished)
        assert prompt_tokens + finished.completion_tokens <= model.info.context_length

    def test_a_prompt_that_leaves_room_for_one_token_is_answered_with_one(
        self, model: LoadedModel
    ) -> None:
        tokens = model.tokenize(self.prompt)
        full = (tokens * model.info.context_length)[: model.info.context_length - 1]
        finished = list(model.generate(full, self.request(prompt=tuple(full))))[-1]
        assert isinstance(finished, Finished)
        assert finished.completion_tokens == 1

    def test_a_stop_string_ends_it_and_is_never_shown(self, model: LoadedModel) -> None:
        whole = self.text(model)
        for start, length in ((len(whole) // 2, 1), (len(whole) // 3, 3), (0, 2)):
            stop = whole[start : start + length]
            events = self.events(model, stop=("never in it \x00", stop))
            assert text_of(events) == whole[: whole.find(stop)]
            assert isinstance(finished := events[-1], Finished)
            assert (finished.reason, finished.stop_string) == ("stop", stop)

    def test_what_could_have_become_a_stop_string_is_shown_at_the_end(
        self, model: LoadedModel
    ) -> None:
        whole = self.text(model, max_tokens=4)
        assert self.text(model, max_tokens=4, stop=(f"{whole[-2:]}\x00",)) == whole

    # -- what is the same

    def test_the_same_request_gives_the_same_text(self, model: LoadedModel) -> None:
        assert self.text(model) == self.text(model)

    def test_the_same_seed_gives_the_same_text_whatever_ran_before(
        self, model: LoadedModel
    ) -> None:
        def seeded(**changes: Any) -> str:
            return self.text(model, temperature=1.0, seed=7, **changes)

        fresh = seeded(cache_prompt=False)
        assert seeded() == fresh
        self.events(model, prompt=self.prompt[: len(self.prompt) // 2], max_tokens=3)
        assert seeded() == fresh
        self.events(model, prompt=f"{self.prompt} {self.prompt}", temperature=1.0)
        assert seeded() == fresh
        assert seeded(slot=1) == fresh

    def test_the_prompt_cache_changes_no_text(self, model: LoadedModel) -> None:
        cached = self.text(model)
        assert self.text(model, cache_prompt=False) == cached

    # -- slots

    def test_a_slot_holds_what_it_evaluated_last_and_no_other_slot_does(
        self, model: LoadedModel
    ) -> None:
        other = list(model.held(1))
        self.events(model)
        tokens = model.tokenize(self.prompt)
        assert list(model.held(0))[: len(tokens)] == tokens
        assert list(model.held(1)) == other

    def test_only_what_a_slot_holds_is_not_computed_again(self, model: LoadedModel) -> None:
        tokens = model.tokenize(self.prompt)
        for changes in ({}, {}, {"cache_prompt": False}):
            held = list(model.held(0)) if not changes else []
            started = self.events(model, **changes)[0]
            assert isinstance(started, Started)
            assert 0 <= started.cached_tokens <= common_prefix(held, tokens[:-1])

    def test_slots_take_turns_and_answer_as_each_does_alone(self, model: LoadedModel) -> None:
        prompts = [self.prompt, f"{self.prompt} {self.prompt}"]
        alone = [self.text(model, prompt=prompt) for prompt in prompts]
        both = [self.generator(model, prompt=prompt, slot=n) for n, prompt in enumerate(prompts)]
        events = zip(*zip_longest(*both), strict=True)
        assert [text_of(cast("list[Event]", of_one)) for of_one in events] == alone

    def test_slots_answer_at_once_as_each_does_alone(self, model: LoadedModel) -> None:
        prompts = [self.prompt, f"{self.prompt} {self.prompt}"]
        alone = [self.text(model, prompt=prompt) for prompt in prompts]
        begin = Barrier(3, timeout=30)

        def answers(slot: int) -> list[str]:
            begin.wait()
            return [self.text(model, prompt=prompts[slot], slot=slot) for _ in range(3)]

        def tokens() -> list[str]:
            begin.wait()
            return [model.detokenize(model.tokenize(text, bos=False)) for text in TEXTS * 20]

        with ThreadPoolExecutor(3) as threads:
            of_slots = [threads.submit(answers, slot) for slot in (0, 1)]
            of_tokens = threads.submit(tokens)
        assert [future.result() for future in of_slots] == [[text] * 3 for text in alone]
        assert of_tokens.result() == TEXTS * 20

    # -- cancelling

    @pytest.mark.parametrize("slot", [0, 1])
    def test_closing_at_any_event_leaves_a_slot_that_answers(
        self, model: LoadedModel, slot: int
    ) -> None:
        whole = self.events(model, slot=slot)
        for count in range(1, len(whole) + 1):
            with closing(self.generator(model, slot=slot)) as generator:
                taken = [event for event, _ in zip(generator, range(count), strict=False)]
            assert isinstance(taken[0], Started)
            assert self.text(model, prompt=f"{self.prompt} more", slot=slot, max_tokens=1)
        assert self.text(model, slot=slot) == text_of(whole)

    def test_a_generator_that_was_never_begun_costs_nothing(self, model: LoadedModel) -> None:
        self.generator(model).close()
        assert isinstance(self.events(model)[-1], Finished)

    # -- likelihoods

    def test_nobody_is_told_likelihoods_unasked(self, model: LoadedModel) -> None:
        assert choices_of(self.events(model)) == []

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_each_token_of_a_piece_comes_with_its_likelihood(
        self, model: LoadedModel, count: int
    ) -> None:
        events = self.events(model, logprobs=count)
        pieces = [event for event in events if isinstance(event, Piece)]
        assert [len(piece.choices) for piece in pieces] == [piece.tokens for piece in pieces]
        assert all(len(choice.top) <= count for choice in choices_of(events))
        assert text_of(events) == self.text(model)

    def test_likelihoods_are_probabilities_in_falling_order(self, model: LoadedModel) -> None:
        for choice in choices_of(self.events(model, logprobs=5, temperature=1.0, seed=3)):
            logprobs = [likelihood.logprob for likelihood in choice.top]
            assert logprobs == sorted(logprobs, reverse=True)
            assert sum(map(math.exp, logprobs)) <= 1 + 1e-5
            assert choice.chosen.logprob <= logprobs[0] + 1e-5
            assert len({likelihood.token for likelihood in choice.top}) == len(choice.top)

    def test_a_chosen_token_is_told_with_its_own_likelihood(self, model: LoadedModel) -> None:
        choices = choices_of(self.events(model, logprobs=10**6, temperature=2.0, seed=3))
        assert choices
        assert all(choice.chosen in choice.top for choice in choices)

    def test_greedily_the_likeliest_is_chosen(self, model: LoadedModel) -> None:
        choices = choices_of(self.events(model, logprobs=1))
        assert choices
        assert [choice.top for choice in choices] == [(choice.chosen,) for choice in choices]


class EmbeddingContract(Answering):
    def vector(self, model: LoadedModel, text: str, *, slot: int = 0) -> Sequence[float]:
        started, *progress, embedded = model.embed(model.tokenize(text), slot=slot)
        assert isinstance(started, Started)
        assert all(isinstance(event, Progress) for event in progress)
        assert isinstance(embedded, Embedded)
        return embedded.vector

    def test_an_embedding_is_of_length_one(self, model: LoadedModel) -> None:
        vector = self.vector(model, self.prompt)
        assert len(vector) == model.info.embedding_length > 0
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-4)

    def test_the_same_text_lies_in_the_same_place_whatever_ran_before(
        self, model: LoadedModel
    ) -> None:
        first = self.vector(model, self.prompt)
        other = self.vector(model, "something else")
        self.events(model)
        assert self.vector(model, self.prompt) == pytest.approx(first, abs=1e-5)
        assert self.vector(model, self.prompt, slot=1) == pytest.approx(first, abs=1e-5)
        assert other != pytest.approx(first, abs=1e-3)

    def test_an_embedding_changes_no_answer(self, model: LoadedModel) -> None:
        before = self.text(model)
        self.vector(model, self.prompt[:20])
        assert self.text(model) == before


SCHEMA = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
GRAMMAR = 'start: "one " ("two" | "three")'
CONSTRAINTS = {
    "json_schema": (json.dumps(SCHEMA | {"additionalProperties": False}), r'\s*\{\s*"a"\s*:.*\}'),
    "regex": ("[0-9]{3}-(x|y)", "[0-9]{3}-(x|y)"),
    "lark": (GRAMMAR, "one (two|three)"),
}


class ConstraintContract(Answering):
    @pytest.mark.parametrize("kind", CONSTRAINTS)
    @pytest.mark.parametrize("sampling", [{}, {"temperature": 2.0, "seed": 1}])
    def test_the_whole_answer_matches_and_ends_with_the_match(
        self, model: LoadedModel, kind: Any, sampling: dict[str, Any]
    ) -> None:
        assert model.info.constrains
        text, pattern = CONSTRAINTS[kind]
        events = self.events(
            model, constraint=Constraint(kind=kind, text=text), max_tokens=50, **sampling
        )
        assert re.fullmatch(pattern, text_of(events), re.DOTALL)
        assert isinstance(finished := events[-1], Finished)
        assert finished.reason == "stop"

    def test_what_leaves_no_choice_comes_with_its_likelihood_too(self, model: LoadedModel) -> None:
        constraint = Constraint(kind="regex", text="one two three four")
        events = self.events(model, constraint=constraint, max_tokens=50, logprobs=0)
        pieces = [event for event in events if isinstance(event, Piece)]
        assert text_of(events) == "one two three four"
        assert [len(piece.choices) for piece in pieces] == [piece.tokens for piece in pieces]

    @pytest.mark.parametrize("kind", CONSTRAINTS)
    def test_a_constraint_that_cannot_be_read_is_refused(
        self, model: LoadedModel, kind: Any
    ) -> None:
        model.check(self.request(constraint=Constraint(kind=kind, text=CONSTRAINTS[kind][0])))
        with pytest.raises(InvalidRequest):
            model.check(self.request(constraint=Constraint(kind=kind, text="([{")))

    def test_an_answer_is_free_again_after_a_constrained_one(self, model: LoadedModel) -> None:
        free = self.text(model)
        self.events(model, constraint=Constraint(kind="regex", text="[0-9]+"))
        assert self.text(model) == free
