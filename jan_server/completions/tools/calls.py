"""Reads calls of tools out of an answer as it grows; the rest of it is text.

A small machine on what is not settled yet: in text it looks for the form's trigger, behind it for
the head of a call, then it passes on the arguments until their end, then it looks for the next call
or the end of the calls. It takes white space where JSON allows it, and keys in another order, since
not every engine holds a model to the form. What turns out to be no call is text again.

However the answer is cut into pieces, the calls and the text are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from ulid import ULID

from jan_server.completions.tools.formats import ToolFormat
from jan_server.completions.tools.objects import ObjectEnd
from jan_server.completions.tools.patterns import patterns
from jan_server.completions.trimming import Trimmed
from jan_server.engines.text import possible_beginning
from jan_server.types.tool import FunctionCallDelta, ToolCallDelta

Part = str | ToolCallDelta


class ToolCallParser:
    """Push text, get text and calls. `names` are the tools that exist; `one` call at most."""

    def __init__(self, form: ToolFormat, names: Collection[str], *, one: bool) -> None:
        self._patterns = patterns(form)
        self._form = form
        self._names = names
        self._one = one
        self._text = Trimmed()
        self._held = ""
        self._state: Callable[[], bool] = self._in_text if form.trigger else self._at_beginning
        self._object = ObjectEnd()
        self._start = self._looked_at = 0
        self.calls = 0
        self._parts: list[Part] = []

    def push(self, text: str) -> list[Part]:
        """What is certain by now; texts may be empty."""
        self._held += text
        while self._state():
            pass
        return self._taken()

    def finish(self) -> list[Part]:
        """The rest, when no more text comes.

        A call that was cut off in its arguments stays as it is. What is cut off before them is
        text, but not behind a whole call: there it was to be another.
        """
        undecided = self._state in (self._at_beginning, self._at_call, self._in_odd_call)
        if self._state == self._in_text or (undecided and not self.calls):
            self._say(self._held)
        if not self.calls:
            self._parts.append(self._text.finish())
        self._held = ""
        return self._taken()

    def _taken(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return parts

    def _say(self, text: str) -> None:
        self._parts.append(self._text.push(text))

    # The states. Each says whether there is more to do; they take what is settled off `_held`.

    def _in_text(self) -> bool:
        trigger = self._form.trigger
        before, found, rest = self._held.partition(trigger)
        if found:
            self._say(before)
            self._held = trigger + rest
            return self._to(self._at_call)
        certain = len(self._held) - possible_beginning(self._held, (trigger,))
        self._say(self._held[:certain])
        self._held = self._held[certain:]
        return False

    def _at_beginning(self) -> bool:
        """Without a trigger, only what the answer begins with can be a call."""
        return bool(self._held.strip()) and self._to(self._at_call)

    def _at_call(self) -> bool:
        if (match := self._patterns.first.match(self._held)) is not None:
            return self._begin(match) if match["name"] in self._names else self._no_call()
        if self._patterns.first_partly.fullmatch(self._held):
            return False
        if self._patterns.odd is None or not (odd := self._patterns.odd.match(self._held)):
            return self._no_call()
        self._object, self._start, self._looked_at = ObjectEnd(), odd.end(), odd.end()
        return self._to(self._in_odd_call)

    def _in_odd_call(self) -> bool:
        """A JSON object with its keys in another order is looked at when it is whole."""
        end = self._object.find(self._held[self._looked_at :])
        if end is None:
            self._looked_at = len(self._held)
            return False
        end += self._looked_at
        call = _odd_call(self._held[self._start : end], self._form.keys)
        if call is None or call[0] not in self._names:
            return self._no_call()
        self._call(call[0])
        self._argue(call[1])
        # As if only the arguments had been read: the object's own end is a part of the tail.
        self._held = self._held[end - 1 :]
        return self._to(self._behind_call)

    def _in_arguments(self) -> bool:
        end = self._object.find(self._held)
        self._argue(self._held if end is None else self._held[:end])
        self._held = "" if end is None else self._held[end:]
        return end is not None and self._to(self._behind_call)

    def _behind_call(self) -> bool:
        if self._one:
            return self._to(self._silent)
        following = self._patterns.next.match(self._held) if self._form.opens else None
        if following is not None and following["name"] in self._names:
            return self._begin(following)
        if (end := self._patterns.end.match(self._held)) is not None:
            self._held = self._held[end.end() :]
        elif any(partly.fullmatch(self._held) for partly in self._patterns.behind_partly):
            return False
        return self._to(self._in_text if self._form.trigger else self._only_text)

    def _only_text(self) -> bool:
        self._say(self._held)
        self._held = ""
        return False

    def _silent(self) -> bool:
        """One call was allowed, and was made."""
        self._held = ""
        return False

    def _to(self, state: Callable[[], bool]) -> bool:
        self._state = state
        return True

    def _no_call(self) -> bool:
        """The trigger was only text, and what follows it is looked at again."""
        if not self._form.trigger:
            return self._to(self._only_text)
        self._say(self._form.trigger)
        self._held = self._held[len(self._form.trigger) :]
        return self._to(self._in_text)

    def _begin(self, match: re.Match[str]) -> bool:
        self._call(match["name"])
        self._held = self._held[match.end() :]
        self._object = ObjectEnd()
        return self._to(self._in_arguments)

    def _call(self, name: str) -> None:
        self._text.break_off()
        function = FunctionCallDelta(name=name, arguments="")
        call = ToolCallDelta(
            index=self.calls, id=f"call_{ULID()}", type="function", function=function
        )
        self._parts.append(call)
        self.calls += 1

    def _argue(self, text: str) -> None:
        if text:
            function = FunctionCallDelta(arguments=text)
            self._parts.append(ToolCallDelta(index=self.calls - 1, function=function))


def _odd_call(text: str, keys: tuple[str, str]) -> tuple[str, str] | None:
    """Name and arguments as JSON; None when the object is no call."""
    try:
        call = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None
    name, arguments = (call.get(key) for key in keys)
    if isinstance(arguments, str):  # Some models write the object as text, as OpenAI sends it.
        try:
            msgspec.json.decode(arguments, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            return None
    elif isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return (name, arguments) if isinstance(name, str) and isinstance(arguments, str) else None
