"""One look at everything in a data folder. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jan_server.store import Store, responses, runs
from jan_server.store.doctor import lines
from jan_server.store.doctor.documents import Whose, check_folder, check_ids, read_document
from jan_server.store.doctor.file_models import check_address, check_file
from jan_server.store.doctor.found import Found, Mend, found
from jan_server.store.doctor.names import check_names
from jan_server.store.doctor.spots import Spot, spots
from jan_server.store.doctor.weights import Digests, Manifests, Subject, check_weights
from jan_server.store.doctor.work_folder import check_work_folder
from jan_server.store.paths import MESSAGES, MODELS, RESPONSES, RUNS, THREADS, Place
from jan_server.store.scanner import Problem
from jan_server.types.diagnostics import Checked

_LOOKS = 3
"""How often a file that changes while it is looked at is read again."""

Problems = Callable[[bytes], Iterator[Problem]]

_BESIDE: dict[str, Problems] = {RUNS: runs.problems, RESPONSES: responses.problems}
"""Files of lines beside the messages, and what is wrong in them."""


class Look:
    """One look at everything: `found`, in the order of the files, and how much was `checked`."""

    def __init__(self, store: Store, catalogue: Manifests, digests: Digests | None) -> None:
        self._store = store
        self._catalogue = catalogue
        self._digests = digests
        self.found: list[Found] = []
        self.checked = Checked()

    def take_all(self) -> None:
        for collection in self._store.collections:
            self.found += self._kind(collection.place)
        self.found += self._file_models()
        self.found += check_work_folder(self._store.root)
        # Weights that lie apart may be found by a manifest, and by themselves.
        self.found = sorted(dict.fromkeys(self.found), key=_order)

    def _kind(self, place: Place) -> Iterator[Found]:
        said: list[Whose] = []
        for spot in spots(place):
            try:
                yield from self._spot(spot, said)
            except OSError as error:  # Changed or gone at this moment, or a disk that fails.
                yield found("unreadable", spot.shown(), f"cannot be looked at ({error.strerror})")
        yield from check_ids(said)

    def _spot(self, spot: Spot, said: list[Whose]) -> Iterator[Found]:
        yield from check_names(spot, self._store.files)
        yield from self._resource(spot, said) if spot.is_resource else check_folder(spot)

    def _resource(self, spot: Spot, said: list[Whose]) -> Iterator[Found]:
        document = read_document(spot, self._store.files)
        yield from document.found
        if isinstance(id := document.value.get("id"), str):
            said.append(Whose(spot, id))
        if spot.place.kind is THREADS:
            self.checked.threads += 1
            self.checked.replies += sum(map(_is_reply, spot.entries))
            yield from self._messages(spot)
            for name, problems in _BESIDE.items():
                yield from self._beside(spot, name, problems)
        elif spot.place.kind.name == MODELS.name:
            self.checked.models += 1
            if spot.place.kind is not MODELS:
                yield from check_address(spot, self._store.models.address(spot.where))
            path = spot.path / spot.place.kind.document
            yield from self._weights(Subject(path, spot.where, document.value, spot.place))
        else:
            self.checked.assistants += 1

    def _file_models(self) -> Iterator[Found]:
        """Those that are a file each, of which a folder may hold several."""
        place = self._store.models.place
        for model in self._store.models.files.look().values():
            self.checked.models += 1
            yield from check_file(model, place)
            if model.document is not None:
                subject = Subject(model.path, model.id, model.document.value, place)
                try:
                    yield from self._weights(subject)
                except OSError as error:
                    reason = f"cannot be looked at ({error.strerror})"
                    yield found("unreadable", place.shown(model.path), reason)

    def _weights(self, subject: Subject) -> Iterator[Found]:
        return check_weights(
            subject,
            catalogue=self._catalogue,
            recorded=self._store.sums,
            digests=self._digests,
        )

    def _messages(self, spot: Spot) -> Iterator[Found]:
        if not spot.can_read(MESSAGES):
            return
        shown = spot.shown(MESSAGES)
        try:
            seen = self._lines(spot)
        except OSError as error:
            yield found("unreadable", shown, f"cannot be read ({error.strerror})")
            return
        self.checked.messages += seen.messages
        mend = Mend("lines", spot.path / MESSAGES, spot.lock)
        for fault in seen.faults:
            yield found(
                fault.code,
                shown,
                fault.reason,
                line=fault.line,
                column=fault.column,
                mend=mend if fault.edit else None,
                address=fault.address,
            )
        if seen.untold:
            reason = f"has {seen.untold} faults more"
            yield found("more_lines", shown, reason, mend=mend if seen.untold_edits else None)

    def _beside(self, spot: Spot, name: str, problems: Problems) -> Iterator[Found]:
        """Lines of another file are told as broken messages are; nothing is mended."""
        if not spot.can_read(name):
            return
        shown = spot.shown(name)
        try:
            raw, _ = self._store.files.read(spot.path / name)
        except OSError as error:
            yield found("unreadable", shown, f"cannot be read ({error.strerror})")
            return
        for problem in problems(raw):
            yield found(
                "broken_line", shown, problem.reason, line=problem.line, column=problem.column
            )

    def _lines(self, spot: Spot) -> lines.Lines:
        """Race: a line may be half written. It is whole at the next look, or it is torn."""
        path = spot.path / MESSAGES
        raw, _ = self._store.files.read(path)
        for _ in range(_LOOKS):
            seen = lines.examine(raw)
            if not seen.faults:
                break
            before, (raw, _) = raw, self._store.files.read(path)
            if raw == before:
                break
        return seen


def _is_reply(name: str) -> bool:
    return name.startswith(".reply-") and name.endswith(".json")


def _order(each: Found) -> tuple[str, int, int]:
    return each.finding.file, each.finding.line or 0, each.finding.column or 0
