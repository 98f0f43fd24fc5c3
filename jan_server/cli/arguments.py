"""Arguments that are ids of something in the data folder, which shells complete.

Only names of folders are read for that, so it is fast; whatever goes wrong, nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from jan_server.cli.options import find_folder
from jan_server.errors import JanError

if TYPE_CHECKING:
    from jan_server.store.paths import Kind

F = TypeVar("F", bound=Callable[..., Any])


def complete_models(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Those of the data folder, then those of the catalogue."""
    from jan_server import catalogue
    from jan_server.store import paths

    return _beginning(incomplete, (*_folders(ctx, paths.MODELS), *catalogue.load()))


def complete_threads(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Those that people filed are offered by the names of their folders."""
    from jan_server.store import paths

    folders = _folders(ctx, paths.THREADS)
    return _beginning(incomplete, (where.rpartition("/")[2] for where in folders))


def model_argument(command: F) -> F:
    """The command gets `model`, an id."""
    return click.argument("model", shell_complete=complete_models)(command)


def thread_argument(command: F) -> F:
    """The command gets `thread`, an id."""
    return click.argument("thread", shell_complete=complete_threads)(command)


def _beginning(incomplete: str, ids: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(id) for id in dict.fromkeys(ids) if id.startswith(incomplete)]


def _folders(ctx: click.Context, kind: Kind) -> Iterator[str]:
    """Where the resources of a kind are, below its folder."""
    from jan_server.store.paths import Place

    try:
        place = Place(find_folder(ctx.params.get("data_folder")).path, kind)
        yield from (found.where for found in place.walk() if found.is_resource)
    except (OSError, JanError):
        return
