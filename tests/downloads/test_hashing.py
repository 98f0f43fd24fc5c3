from __future__ import annotations

import hashlib
import threading

from jan_server.downloads.hashing import BEHIND, Sha256


def test_pieces_are_hashed_in_their_order_however_many_wait():
    sum, pieces = Sha256(), [bytes([number]) * 1000 for number in range(200)]
    assert len(pieces) > BEHIND
    for piece in pieces:
        sum.update(piece)
    assert sum.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()
    sum.update(b"more")
    assert sum.hexdigest() == hashlib.sha256(b"".join([*pieces, b"more"])).hexdigest()


def test_without_pieces_there_is_no_thread_and_after_the_end_none_either():
    before = threading.active_count()
    sum = Sha256()
    assert sum.hexdigest() == hashlib.sha256().hexdigest()
    assert threading.active_count() == before
    sum.update(b"x")
    sum.close()
    assert threading.active_count() == before
