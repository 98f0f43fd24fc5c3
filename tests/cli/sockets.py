"""Servers that misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading

from jan_server.presence import announced
from jan_server.store import Store


@contextlib.contextmanager
def a_server_that(data_folder, behave):
    """Something that is announced, and does with each connection what `behave` does."""
    store = Store(data_folder).open()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        behave(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        with announced(store, f"http://127.0.0.1:{listening.getsockname()[1]}"):
            yield
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(60)


def answering(body: bytes, status: str = "200 OK", kind: str = "application/json"):
    def behave(connection):
        connection.recv(65_536)
        fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
        head = f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n"
        connection.sendall(head.encode() + body)

    return behave
