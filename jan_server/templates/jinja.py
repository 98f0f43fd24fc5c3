"""Chat templates out of model files, which are programs out of the internet.

They run in Jinja's immutable sandbox, where there is no way to Python's own objects, and in which

- only the filters that chat templates use are there, and of a string's methods those that do not
  pad or format with a width;
- every turn of a loop, call, filter and such operator looks at the clock and at what was put out;
- what makes long texts or lists out of short ones (`*`, `+`, `~`, `**`, `%`, join, replace, indent,
  tojson, nested lists made text) is measured before it is done.

What this does not promise: a hard limit on time or memory. One step may still take long on values
of the allowed size (comparing deeply shared lists, sorting), compiling is bounded by the template's
size alone, and all this is in the server's process. What goes on between two steps cannot be
stopped here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any, NoReturn

import jinja2
from jinja2 import filters, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from jan_server.errors import InvalidRequest

MAX_TEMPLATE = 256 * 1024
MAX_TEXT = 16 * 1024 * 1024  # characters: of the prompt, and of any value on the way to it
MAX_WRITTEN = 4 * MAX_TEXT  # all that is put out, in macros and captured blocks too
MAX_ITEMS = 200_000
MAX_BITS = 4096
MAX_INDENT = 64
MAX_TIME_FORMAT = 200
MAX_DIGITS = 20
MAX_SECONDS = 2.0

_SHOWN = 500


class TemplateRefused(InvalidRequest):
    """The template said no to these messages, by `raise_exception`."""


class TemplateFailed(InvalidRequest):
    """The template met an error, as with something in these messages that it does not expect."""


class _LimitReached(Exception):
    pass


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
    *,
    budget: Budget | None = None,
) -> str:
    """The prompt. Raises TemplateRefused and TemplateFailed, which other messages might not meet,
    and InvalidRequest for a template that is no template, or that uses up its budget.
    """
    if len(template) > MAX_TEMPLATE:
        raise _failed(f"it has {len(template)} characters, and {MAX_TEMPLATE} are the limit")
    given = {"tools": None, "documents": None, **variables, "messages": [dict(m) for m in messages]}
    token = _budget.set(budget or Budget())
    try:
        return _limited("".join(_compiled(template).generate(given)))
    except TemplateRefused:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise _failed(f"line {error.lineno}: {error.message}") from error
    except _LimitReached as error:
        raise _failed(str(error)) from error
    except jinja2.TemplateError as error:
        raise _failed(str(error), TemplateFailed) from error
    except RecursionError as error:
        raise _failed(f"{type(error).__name__}: {error}") from error
    except Exception as error:
        raise _failed(f"{type(error).__name__}: {error}", TemplateFailed) from error
    finally:
        _budget.reset(token)


@lru_cache(maxsize=32)
def names_read(template: str) -> frozenset[str]:
    """The variables that the template looks at; none where it cannot be read at all."""
    if len(template) > MAX_TEMPLATE:
        return frozenset()
    try:
        parsed = _environment().parse(template)
    except (jinja2.TemplateSyntaxError, RecursionError):
        return frozenset()
    return frozenset(name.name for name in parsed.find_all(nodes.Name) if name.ctx == "load")


def _failed(reason: str, kind: type[InvalidRequest] = InvalidRequest) -> InvalidRequest:
    return kind(f"The model's chat template failed: {reason[:_SHOWN].rstrip('.')}.")


class Budget:
    """What may still be used, by one rendering or by several."""

    def __init__(self) -> None:
        self.deadline = time.monotonic() + MAX_SECONDS
        self.characters = MAX_WRITTEN

    def spend(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise _LimitReached(f"it writes more than {MAX_WRITTEN} characters")
        if time.monotonic() > self.deadline:
            raise _LimitReached(f"it takes longer than {MAX_SECONDS:g} s")


_budget: ContextVar[Budget] = ContextVar("the budget of the template that runs")


# 1. How large a value is, before it is made.


def _limited(text: str) -> str:
    _check_text(len(text))
    return text


def _check_text(length: int) -> None:
    if length > MAX_TEXT:
        raise _LimitReached(f"it makes a text of more than {MAX_TEXT} characters")


def _check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise _LimitReached(f"it makes a list of more than {MAX_ITEMS} items")


def _written_length(value: Any) -> int:
    """At least about the length of `str(value)`; raises as soon as that is over the limit.

    A list that holds itself twice, again and again, is small in memory and endless as text.
    """
    length, items, rest = 0, 0, [value]
    while rest:
        part = rest.pop()
        items += 1
        length += len(part) if isinstance(part, str) else 1
        if isinstance(part, Mapping):
            rest += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            rest += part
        _check_items(items + len(rest))
        _check_text(length)
    return length


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and not isinstance(right, int):
        left, right = right, left
    if not isinstance(right, int):
        return
    if isinstance(left, int):
        _check_bits(left.bit_length() + right.bit_length())
    elif isinstance(left, str):
        _check_text(len(left) * right)
    elif isinstance(left, list | tuple):
        _check_items(len(left) * right)


def _check_sum(left: Any, right: Any) -> None:
    if isinstance(left, str) and isinstance(right, str):
        _check_text(len(left) + len(right))
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        _check_items(len(left) + len(right))


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * right)


def _check_bits(bits: int) -> None:
    if bits > MAX_BITS:
        raise _LimitReached(f"it makes a number of more than {MAX_BITS} bits")


# A width, or a key: after a key there may be a width too, and chat templates have no use for one.
_PADDED_PERCENT = re.compile(r"%[^%a-zA-Z]*[\d*(]")
_PADDED_BRACES = re.compile(r"\{[^{}]*:")


def _check_percent(left: Any, right: Any) -> None:
    if not isinstance(left, str):
        return
    if _PADDED_PERCENT.search(left):
        raise _LimitReached("it formats with a width or a key, which is not possible here")
    _check_text(len(left) * (1 + _written_length(right)))


_BEFORE_OPERATOR: dict[str, Callable[[Any, Any], None]] = {
    "+": _check_sum,
    "*": _check_product,
    "**": _check_power,
    "%": _check_percent,
}


# 2. What templates may call.


def _check_replace(text: str, old: Any, new: Any, *_: Any) -> None:
    if isinstance(old, str) and isinstance(new, str):
        _check_text(len(text) + text.count(old) * len(new))


def _checked_join(value: Iterable[Any], separator: str) -> list[Any]:
    items = list(value)
    _check_text(_written_length(items) + len(separator) * len(items))
    return items


@jinja2.pass_eval_context
def _join(
    context: nodes.EvalContext, value: Iterable[Any], d: str = "", attribute: str | None = None
) -> str:
    if attribute is not None:
        value = map(filters.make_attrgetter(context.environment, attribute), value)
    return filters.sync_do_join(context, _checked_join(value, str(d)), str(d))


@jinja2.pass_eval_context
def _replace(
    context: nodes.EvalContext, s: str, old: str, new: str, count: int | None = None
) -> str:
    _check_replace(str(s), old, new)
    return filters.do_replace(context, s, old, new, count)


def _format(value: str, *args: Any, **kwargs: Any) -> str:
    _check_percent(value, kwargs or args)
    return filters.do_format(value, *args, **kwargs)


@jinja2.pass_environment
def _sum(
    environment: jinja2.Environment,
    values: Iterable[Any],
    attribute: str | int | None = None,
    start: float = 0,
) -> Any:
    if not isinstance(start, int | float):
        raise _LimitReached("it adds up what are no numbers")
    return filters.sync_do_sum(environment, values, attribute, start)


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    wide = len(width) if isinstance(width, str) else width
    _check_indent(wide)
    _check_text(len(s) + (s.count("\n") + 1) * wide)
    return filters.do_indent(s, width, first, blank)


def _tojson(
    value: Any,
    indent: int | None = None,
    ensure_ascii: bool = False,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As chat templates expect it: plain JSON, not Jinja's own, which escapes for HTML."""
    _check_indent(indent or 0)
    _written_length(value)
    return json.dumps(
        value,
        indent=indent,
        ensure_ascii=ensure_ascii,
        separators=separators,
        sort_keys=sort_keys,
    )


def _check_indent(width: int) -> None:
    if width > MAX_INDENT:
        raise _LimitReached(f"it indents by more than {MAX_INDENT}")


def _string(value: Any) -> str:
    _written_length(value)
    return str(value)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > MAX_DIGITS:
        raise _LimitReached(f"it rounds to more than {MAX_DIGITS} digits")
    return filters.do_round(value, precision, method)


def _list(value: Iterable[Any]) -> list[Any]:
    items = list(value)
    _check_items(len(items))
    return items


def _raise_exception(message: Any) -> NoReturn:
    text = str(message)[:_SHOWN]
    raise TemplateRefused(
        f"The model's chat template refuses these messages: {text}", param="$.messages"
    )


def _strftime_now(format: str) -> str:
    if len(format) > MAX_TIME_FORMAT:
        raise _LimitReached(f"its time has more than {MAX_TIME_FORMAT} characters")
    return datetime.now().strftime(format)


_FILTERS: dict[str, Callable[..., Any]] = {
    **{
        name: filters.FILTERS[name]
        for name in (
            "abs",
            "capitalize",
            "count",
            "d",
            "default",
            "dictsort",
            "e",
            "escape",
            "first",
            "float",
            "groupby",
            "int",
            "items",
            "last",
            "length",
            "lower",
            "map",
            "max",
            "min",
            "reject",
            "rejectattr",
            "reverse",
            "safe",
            "select",
            "selectattr",
            "sort",
            "title",
            "trim",
            "unique",
            "upper",
            "wordcount",
        )
    },
    "format": _format,
    "indent": _indent,
    "join": _join,
    "list": _list,
    "replace": _replace,
    "round": _round,
    "string": _string,
    "sum": _sum,
    "tojson": _tojson,
}

_GLOBALS = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
_KEPT_GLOBALS = ("dict", "namespace", "range")

# fmt: off
_METHODS_OF_STR = frozenset(
    (
        "capitalize", "casefold", "count", "endswith", "find", "format", "index", "isalnum",
        "isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle",
        "isupper", "join", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
        "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
        "splitlines", "startswith", "strip", "swapcase", "title", "upper",
    )
)
# fmt: on


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(_BEFORE_OPERATOR)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.spend(0)
        _BEFORE_OPERATOR[operator](left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        _budget.get().spend(0)
        text = getattr(obj, "__self__", None)
        if isinstance(text, str) and obj.__name__ == "join" and args:
            args = (_checked_join(args[0], text), *args[1:])
        elif isinstance(text, str) and obj.__name__ == "replace" and len(args) > 1:
            _check_replace(text, *args)
        return super().call(context, obj, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in _METHODS_OF_STR
        return not isinstance(obj, int | float | bytes) and super().is_safe_attribute(
            obj, attr, value
        )

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        text = getattr(value, "__self__", None)
        if isinstance(text, str) and value.__name__ == "format" and _PADDED_BRACES.search(text):
            raise _LimitReached("it formats with a width, which is not possible here")
        return super().wrap_str_format(value)

    # The two below are called by the code that `_Guarded` puts into templates.

    def spend(self, characters: int) -> None:
        _budget.get().spend(characters)

    def concatenate(self, *parts: Any) -> str:
        _check_text(sum(_written_length(part) for part in parts))
        return "".join(str(part) for part in parts)


class _Guarded(NodeTransformer):
    """Each turn of a loop and each text of the template counts; `~` is measured."""

    def get_visitor(self, node: nodes.Node) -> Callable[..., Any] | None:
        return _GUARDS.get(type(node))


def _guard_loop(node: nodes.For) -> nodes.Node:
    _Guarded().generic_visit(node)
    node.body.insert(0, _spend(0, node.lineno))
    return node


def _guard_output(node: nodes.Output) -> list[nodes.Node]:
    _Guarded().generic_visit(node)
    length = sum(len(text.data) for text in node.nodes if isinstance(text, nodes.TemplateData))
    return [_spend(length, node.lineno), node] if length else [node]


def _guard_concat(node: nodes.Concat) -> nodes.Node:
    _Guarded().generic_visit(node)
    return _call("concatenate", node.nodes, node.lineno)


_GUARDS: dict[type[nodes.Node], Callable[..., Any]] = {
    nodes.For: _guard_loop,
    nodes.Output: _guard_output,
    nodes.Concat: _guard_concat,
}


def _spend(characters: int, line: int) -> nodes.Node:
    return nodes.ExprStmt(_call("spend", [nodes.Const(characters)], line), lineno=line)


def _call(method: str, arguments: list[nodes.Expr], line: int) -> nodes.Expr:
    called = nodes.EnvironmentAttribute(method)
    return nodes.Call(called, arguments, [], None, None, lineno=line)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 - as Extension declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


@jinja2.pass_context
def _finalize(_: Context, value: Any) -> Any:
    """Called with all that `{{ }}` puts out, constants too since it asks for the context."""
    _budget.get().spend(_written_length(value))
    return value


def _timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, after a look at the clock. Jinja's marks of what it is passed stay on it.

    While a template is compiled, filters of constants are applied already: then there is no budget,
    and nothing is larger than the template.
    """

    @wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        if budget := _budget.get(None):
            budget.spend(0)
        return function(*args, **kwargs)

    return timed


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        extensions=["jinja2.ext.loopcontrols", _Generation],
    )
    environment.filters = {name: _timed(function) for name, function in _FILTERS.items()}
    kept = {name: environment.globals[name] for name in _KEPT_GLOBALS}
    environment.globals = {**kept, **_GLOBALS}
    return environment


@lru_cache(maxsize=32)
def _compiled(template: str) -> jinja2.Template:
    environment = _environment()
    guarded = _Guarded().visit(environment.parse(template))
    code = environment.compile(guarded)
    return environment.template_class.from_code(environment, code, dict(environment.globals))
