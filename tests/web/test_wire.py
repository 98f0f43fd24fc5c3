"""What only real sockets show: clients that send everything first do read the answer."""

import http.client
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from jan_server.web.requests import read_json
from jan_server.web.responses import json_response
from jan_server.web.routing import Route, Router
from jan_server.web.stack import stack
from tests.web.serving import exchange, served

LARGE = 11 * 2**20


async def echo(context: None, request: Request) -> Response:
    _, raw = await read_json(request, dict)
    return json_response(raw)


async def pass_over(context: None, _: Request) -> Response:
    return json_response({})


APP = stack(
    Router(
        [
            Route("POST", "/echo", echo),
            Route("POST", "/passed-over", pass_over),
            Route("GET", "/threads/{thread_id}", echo),
        ],
        None,
    )
)


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with served(APP) as address:
        yield address


def url(address: tuple[str, int], path: str) -> str:
    return f"http://{address[0]}:{address[1]}{path}"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/echo", {}, 413),
        ("/nothing", {}, 404),
        ("/echo", {"origin": "https://evil.example"}, 403),
        ("/echo", {"content-type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_urllib_reads_why_its_large_body_was_refused(
    address: tuple[str, int], path: str, headers: dict[str, str], status: int
) -> None:
    request = urllib.request.Request(url(address, path), b" " * LARGE, headers)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=60)
    with raised.value as answer:
        assert (answer.status, list(json.load(answer))) == (status, ["error", "message"])


@pytest.mark.parametrize(
    "options",
    [[], ["-H", "Expect: 100-continue"], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]],
)
def test_curl_reads_why_its_large_body_was_refused(
    address: tuple[str, int], tmp_path: Path, options: list[str]
) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    body = tmp_path / "body"
    body.write_bytes(b" " * LARGE)
    command = [curl, "-sS", "-w", " %{http_code}", *options, "--data-binary", f"@{body}"]
    done = subprocess.run(
        [*command, url(address, "/echo")], capture_output=True, text=True, timeout=60, check=True
    )
    assert '"code":"body_too_large"' in done.stdout
    assert done.stdout.endswith(" 413")


def test_a_connection_goes_on_after_a_body_was_refused(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=60)
    for body, status in ((b" " * LARGE, 413), (b"{}", 200)):
        connection.request("POST", "/echo", body)
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (status, True)
    connection.close()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/threads/..%2fescape", b"400"),
        (b"/threads/..", b"400"),
        (b"/threads//", b"400"),
        (b"/threads/%00", b"400"),
        (b"/threads/\xff", b"400"),
        (b"http://localhost/threads", b"400"),
    ],
)
def test_raw_paths_reach_the_router_untidied(
    address: tuple[str, int], target: bytes, status: bytes
) -> None:
    sent = b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert exchange(address, sent).split()[1] == status


def test_a_body_that_nobody_reads_does_not_cost_the_connection(address: tuple[str, int]) -> None:
    connection = http.client.HTTPConnection(*address, timeout=20)
    connection.putrequest("POST", "/passed-over")
    connection.putheader("Content-Length", "2")
    connection.endheaders()
    time.sleep(0.2)  # Long enough for an answer that does not wait for the body.
    connection.send(b"{}")
    first = connection.getresponse()
    assert (first.status, first.read()) == (200, b"{}")
    used = connection.sock
    connection.request("POST", "/passed-over", b"{}")
    second = connection.getresponse()
    assert (second.status, second.read(), connection.sock is used) == (200, b"{}", True)
    connection.close()
