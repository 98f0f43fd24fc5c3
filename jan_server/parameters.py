"""Which value of a parameter wins: request > thread > assistant > model.json > default.

Each parameter is a row: the names it goes by, what it must be, and its default. A wrong value in
the request is the client's error. A wrong value in a file is skipped and logged with the file's
name, since one slip of a hand must not stop a chat; the next layer then counts. Files may write
numbers and booleans as strings, as Jan's document shows them. An empty `stop` in a file says
nothing (Jan writes `[]` into every thread); in the request it means that there are none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from jan_server.engines.base import Parameters
from jan_server.errors import InvalidRequest

log = logging.getLogger(__name__)

MAX_STOP_STRINGS = 16
# More tokens than any model gives, few enough for every engine's integers.
MAX_COUNT = 2**31 - 1


class Wrong(ValueError):
    """What a value must be. `place` is where in the value, as the tail of a JSON path."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(reason)
        self.place = place


class Row(msgspec.Struct, frozen=True):
    """`names`: Parameters' own first. `read` gives the value or raises Wrong.

    `is_text`: a string in a file is meant as one, not as a number.
    """

    names: tuple[str, ...]
    read: Callable[[Any], Any]
    is_text: bool = False


def resolve(
    request: Mapping[str, Any], files: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> Parameters:
    """The winning values. `files` are (name for the log, its parameters), the strongest first.

    Raises InvalidRequest, whose `param` is the JSON path, for a wrong value in the request.
    """
    chosen: dict[str, Any] = {}
    for row in ROWS:
        if (value := _from_request(row, request)) is None:
            value = next(filter(_is_said, (_from_file(row, *file) for file in files)), None)
        if value is not None:
            chosen[row.names[0]] = value
    return _with_random_seed(Parameters(**chosen))


def of_files(files: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """What files say, the strongest first, under Parameters' own names: for a request that is
    made here. What is wrong in them is skipped, as in `resolve`."""
    found: dict[str, Any] = {}
    for row in ROWS:
        value = next(filter(_is_said, (_from_file(row, *file) for file in files)), None)
        if value is not None:
            found[row.names[0]] = _as_sent(value)
    return found


def _as_sent(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def said(request: Mapping[str, Any], name: str) -> Any:
    """The value of Parameters' `name` that the request itself says, or None."""
    [row] = (row for row in ROWS if row.names[0] == name)
    return _from_request(row, request)


def _from_request(row: Row, request: Mapping[str, Any]) -> Any:
    """None when the request does not say; null says nothing. Of two names the first counts."""
    values = []
    for name in row.names:
        if (value := request.get(name)) is not None:
            try:
                values.append(row.read(value))
            except Wrong as wrong:
                path = f"$.{name}{wrong.place}"
                raise InvalidRequest(f"{path}: must be {wrong}.", param=path) from wrong
    return values[0] if values else None


def _from_file(row: Row, where: str, parameters: Mapping[str, Any]) -> Any:
    for name in row.names:
        if (value := parameters.get(name)) is not None:
            try:
                return row.read(value if row.is_text else _from_text(value))
            except Wrong as wrong:
                log.warning("%s: %s is ignored: it must be %s", where, name + wrong.place, wrong)
    return None


def _is_said(value: Any) -> bool:
    return value is not None and value != ()


def _from_text(text: Any) -> Any:
    """A number or a boolean that a file gives as a string; anything else as it is."""
    if not isinstance(text, str):
        return text
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.strip().lower(), text)


def _with_random_seed(parameters: Parameters) -> Parameters:
    """-1 is how clients of llama.cpp ask for a random seed; engines take what is not negative."""
    if parameters.seed is None:
        return parameters
    seed = None if parameters.seed == -1 else parameters.seed % 2**64
    return msgspec.structs.replace(parameters, seed=seed)


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # NaN is refused too
            raise Wrong(f"a number from {low:g} to {high:g}")
        return float(value)

    return read


def _positive(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 1e-3 <= value <= 1e3:  # the logits are divided by it: keep them finite
        raise Wrong("a number from 0.001 to 1000")
    return float(value)


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise Wrong("an integer")
        if not low <= value <= high:
            raise Wrong(f"an integer from {low} to {high}")
        return int(value)

    return read


def _count(value: Any) -> int:
    """-1 is llama.cpp's and LM Studio's way to ask for as much as there is room for."""
    if not isinstance(value, bool) and value == -1:
        return MAX_COUNT
    return _integer(1, MAX_COUNT)(value)


def _top_k(value: Any) -> int:
    """-1 is llama.cpp's and OpenAI-like servers' way to switch it off; engines take 0."""
    return max(0, _integer(-1, MAX_COUNT)(value))


def _logit_bias(value: Any) -> dict[int, float]:
    """OpenAI's object of token ids, or llama.cpp's list of pairs, where false forbids a token."""
    if not isinstance(value, dict | list):
        raise Wrong("an object of token ids and numbers, or a list of such pairs")
    if isinstance(value, dict):
        return dict(_bias(f".{id}", id, bias) for id, bias in value.items())
    return dict(_bias(f"[{index}]", *_pair(index, item)) for index, item in enumerate(value))


def _pair(index: int, item: Any) -> tuple[Any, Any]:
    if not isinstance(item, list) or len(item) != 2:
        raise Wrong("a token id and a number", f"[{index}]")
    return item[0], item[1]


def _bias(place: str, id: Any, bias: Any) -> tuple[int, float]:
    try:
        token = _integer(0, MAX_COUNT)(int(id) if isinstance(id, str) and _ID.fullmatch(id) else id)
        return token, _LOWEST_BIAS if bias is False else _read_bias(bias)
    except Wrong as wrong:
        raise Wrong(f"a token id with a number: {wrong}", place) from wrong


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong("true or false")
    return value


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value] if value else None
    if not isinstance(value, list | tuple):
        raise Wrong("a string that is not empty, or a list of such")
    if len(value) > MAX_STOP_STRINGS:
        raise Wrong(f"at most {MAX_STOP_STRINGS} strings, not {len(value)}")
    for index, item in enumerate(value):
        if not isinstance(item, str) or not item:
            raise Wrong("a string that is not empty", f"[{index}]")
    return tuple(value)


_ID = re.compile("[0-9]{1,10}")
_LOWEST_BIAS = -100.0
_read_bias = _number(_LOWEST_BIAS, -_LOWEST_BIAS)

ROWS = (
    Row(("temperature",), _number(0, 2)),
    Row(("top_p",), _number(0, 1)),
    Row(("max_tokens", "max_completion_tokens", "token_limit", "n_predict"), _count),
    Row(("top_k",), _top_k),
    Row(("min_p",), _number(0, 1)),
    Row(("typical_p", "typ_p"), _number(0, 1)),
    Row(("mirostat",), _integer(0, 2)),
    Row(("mirostat_tau",), _number(0, 100)),
    Row(("mirostat_eta",), _number(0, 1)),
    Row(("repeat_penalty", "repetition_penalty"), _positive),
    Row(("repeat_last_n",), _integer(0, MAX_COUNT)),
    Row(("presence_penalty",), _number(-2, 2)),
    Row(("frequency_penalty",), _number(-2, 2)),
    Row(("logit_bias",), _logit_bias),
    Row(("seed",), _integer(-(2**63), 2**64 - 1)),
    Row(("stop",), _strings, is_text=True),
    Row(("ignore_eos",), _boolean),
    Row(("cache_prompt",), _boolean),
)
