"""Models that are not the only ones of their id, and such as are a file."""

from __future__ import annotations

from collections.abc import Iterator

from jan_server.store.doctor.found import Found, found
from jan_server.store.doctor.spots import Spot
from jan_server.store.file_model import FileModel
from jan_server.store.paths import Place


def check_file(model: FileModel, place: Place) -> Iterator[Found]:
    shown = place.shown(model.path)
    if model.problem is not None:
        line, column = model.problem.line, model.problem.column
        yield found("broken_document", shown, model.problem.reason, line=line, column=column)
    if model.id != model.said_id:
        yield _taken(shown, model.said_id, model.id)


def check_address(spot: Spot, address: str) -> Iterator[Found]:
    """Of a model of today's Jan, and the id that reaches it."""
    if address != spot.where:
        yield _taken(spot.shown(spot.place.kind.document), spot.where, address)


def _taken(shown: str, said: str, address: str) -> Found:
    return found("taken_id", shown, f"is {address!r} here: another model is called {said!r}")
