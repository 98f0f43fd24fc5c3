"""A hub that holds one file: `python -m bench.file_hub FILE`, in a process of its own.

It prints its address and serves until its input ends. The system sends the file, so that what is
measured is who reads it.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def _handler(path: Path, sha256: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("ETag", f'"{sha256}"')
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.flush()
            with path.open("rb") as file:
                self.connection.sendfile(file)

        def log_message(self, *_arguments: object) -> None:
            pass

    return Handler


def main() -> None:
    path = Path(sys.argv[1])
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(path, sha256))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
