"""What is wrong in a data folder, and mending what can be mended without guessing.

A finding has a place, a code, a reason, and either what `--fix` would do or what a person can.

    code                  what was found                                --fix
    broken_line           a line that is no JSON object                   no: a person's words
    torn_line             a last line that nobody finished                moved to .jan_server/torn/
    zeros                 a line of nothing but zeros (a power cut)       taken out
    glued_records         two records on one line                         the newline between them
    duplicate_message_id  an id that an earlier line has                  that by which it is served
    unusable_message_id   an id that no request could hold                no
    long_line             a line of more than 10 MB                       no
    more_lines            a file with more faults than are told           as those that are told
    broken_document       thread.json ... that is no JSON object          no: comments are words too
    no_thread_document    messages, and no thread.json                    a thread.json, as served
    no_document           a folder that is no resource's and holds none   no
    empty_folder          a folder with nothing in it                     no
    copied_id             the id of another folder, by its name           the folder's own name
    same_id               an id that two folders have                     no: which one is meant?
    other_id              an id that is not the folder's name             no: which one is meant?
    taken_id              a model whose id another model has              no: are they one?
    unreadable            what the system does not let us read            no
    name_not_utf8         a name that is not UTF-8                        no
    unusable_name         a name that no request could hold               no
    special_file          a FIFO, a socket, a device                      no
    link_leads_out        a link out of the data folder                   no
    link_leads_nowhere    a link to what is not there                     no
    leftover              our temporary file or folder, an hour old       moved to the trash
    equal_conflict_copy   a conflict copy that says the same              moved to the trash
    conflict_copy         a conflict copy that says something else        no: which one is meant?
    weights_missing       weights that are named, and cannot be got       no
    broken_weights        a GGUF file that cannot be used                 no
    wrong_size wrong_sum  weights that are not those on record            no
    changed_weights       weights that changed after they were verified   no: verify them
    other_sum             weights that are not what they were then        no: who changed them?

Harmless, and no findings: a missing final newline, blank lines, CRLF, a byte order mark, half a
surrogate pair, a message without an id, a model without a manifest or not downloaded yet.

Examining reads only, and takes no locks: what is wrong at the first look and right at the second
is not told. It works beside a running server, and so does mending (`mending.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from jan_server.errors import DataFolderMissing
from jan_server.store import Store
from jan_server.store.doctor.found import Found, Mend
from jan_server.store.doctor.look import Look
from jan_server.store.doctor.mending import mend
from jan_server.store.doctor.weights import Digests, Manifests
from jan_server.store.doctor.work_folder import size_of
from jan_server.store.locks import Locks
from jan_server.types.diagnostics import Diagnosis, Finding

_NOTHING: Manifests = MappingProxyType({})


class Doctor:
    """Of one data folder. It need not have been opened; nothing is changed in it but by `mend`.

    `catalogue` are manifests by id, for the sums of weights whose own manifest has none.
    """

    def __init__(self, store: Store, *, catalogue: Manifests = _NOTHING) -> None:
        self._store = store
        self._catalogue = catalogue
        self._digests = Digests(store.sums)

    def __repr__(self) -> str:
        return f"<Doctor of {self._store.root}>"

    def examine(self, *, sums: bool) -> Diagnosis:
        """Look at everything; at the sums of weights only when asked, and record those.

        Raises DataFolderMissing.
        """
        return self._diagnosis(self._look(sums))

    def mend(self, *, sums: bool) -> Diagnosis:
        """Mend what can be mended; `findings` are what remains. Raises DataFolderMissing.

        A finding whose mending failed has the reason as its hint.
        """
        before = self._look(sums).found
        locks = Locks(self._store.work_path("locks"))
        mends = dict.fromkeys(each.mend for each in before if each.mend)
        failed = {what: reason for what in mends if (reason := mend(self._store, locks, what))}
        after = self._look(sums)
        diagnosis = self._diagnosis(after)
        diagnosis.findings = [_with_reason(each, failed) for each in after.found]
        remain = {each.finding for each in after.found}
        diagnosis.mended = [
            each.finding for each in before if each.mend and each.finding not in remain
        ]
        return diagnosis

    def _diagnosis(self, look: Look) -> Diagnosis:
        return Diagnosis(
            findings=[each.finding for each in look.found],
            trash=size_of(self._store.trash.path),
            checked=look.checked,
        )

    def _look(self, sums: bool) -> Look:
        if not self._store.root.is_dir():
            raise DataFolderMissing(self._store.root)
        look = Look(self._store, self._catalogue, self._digests if sums else None)
        look.take_all()
        return look


def _with_reason(each: Found, failed: Mapping[Mend, str]) -> Finding:
    finding, reason = each.finding, failed.get(each.mend) if each.mend else None
    if reason is None:
        return finding
    return msgspec.structs.replace(finding, fix=None, hint=f"It could not be mended: {reason}")
