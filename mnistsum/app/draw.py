"""`mnistsum draw`: a local page for drawing digits, which a trained network reads as you draw."""

import contextlib
import json
import re
import socket
import sys
import threading
import time
import webbrowser
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from mnistsum.app import STYLE
from mnistsum.app.compiler import set_up_compiler
from mnistsum.errors import InputError
from mnistsum.picture import inspect_picture
from mnistsum.predict import Predictor, load_pretrained

PAGE = Path(__file__).with_name("draw.html")
MAX_REQUEST_BYTES = 1_000_000  # of a request's body
MAX_PIXELS = 512 * 512  # of a picture; the page sends 280 x 280
MAX_CONNECTIONS = 64  # open at the same time
MAX_READERS = 4  # pictures read at the same time, as each takes a core and megabytes
MAX_SECONDS = 10.0  # from a connection's start to its end
# The page's own style and script, its own server, and nothing else.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def draw(options: Namespace) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    if not 0 <= options.port < 2**16:
        raise InputError(f"--port: expected 0 to 65535, found {options.port}")
    set_up_compiler()
    with serve(load_pretrained(options.model, options.config), options.port) as server:
        try:
            address = f"http://127.0.0.1:{server.server_port}/"
            print(f"draw at {address} (Ctrl-C ends it)", flush=True)
            if sys.stdout and sys.stdout.isatty() and not options.no_browser:
                # In a thread, as a browser in the terminal would block before anything is served.
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


class Server(ThreadingHTTPServer):
    """A server with a thread per connection; excess connections wait, and slow ones are ended.

    Connections beyond MAX_CONNECTIONS wait in the system's queue. MAX_SECONDS limits a connection's whole lifetime,
    because a socket's timeout would restart with every byte.
    """

    request_queue_size = 128

    def __init__(self, *arguments: Any):
        self.readers = ThreadPoolExecutor(MAX_READERS)
        self._deadlines: dict[socket.socket, float] = {}  # of open connections, on the monotonic clock
        self._closed = threading.Condition()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._closed:
            while len(self._deadlines) >= MAX_CONNECTIONS:
                self._closed.wait(0.5)
                self.service_actions()
            self._deadlines[request] = time.monotonic() + MAX_SECONDS
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End connections whose time is up; called after each new connection, and twice a second."""
        with self._closed:
            for request, deadline in self._deadlines.items():
                if deadline <= time.monotonic():
                    with contextlib.suppress(OSError):  # the client has gone
                        request.shutdown(socket.SHUT_RDWR)  # its thread reads the end, and closes the connection

    def shutdown_request(self, request: Any) -> None:
        with self._closed:
            self._deadlines.pop(request, None)
            self._closed.notify()
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        self.readers.shutdown(cancel_futures=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless its client has left or stalled, or the server is closing."""
        if self.fileno() != -1 and not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def serve(predictor: Predictor, port: int) -> Server:
    """Return a server of the page on loopback, its network compiled; InputError if the port is taken."""
    predictor.predict(np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, int))
    try:
        return Server(("127.0.0.1", port), partial(Handler, predictor))
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; give another, or none") from None


def read(predictor: Predictor, picture: bytes, number: int) -> tuple[list[int], list[float], list[float]]:
    """Return the image that the network sees, and the probabilities of the digits and of the sums."""
    image = inspect_picture(picture, "drawing", MAX_PIXELS).image
    digit, total = predictor.predict(image[None], np.array([number]))
    return image.ravel().tolist(), digit[0].tolist(), total[0].tolist()


class Handler(BaseHTTPRequestHandler):
    """Serves the page at GET /, and the probabilities for the picture in the body at POST /predict?number=N."""

    default_request_version = "HTTP/1.1"  # for answers to malformed requests; HTTP/0.9 has no status

    def __init__(self, predictor: Predictor, *arguments: Any):
        self.predictor = predictor
        super().__init__(*arguments)

    def parse_request(self) -> bool:
        """Refuse requests other than HTTP/1.1, which http.server would accept."""
        if not super().parse_request():
            return False
        line = re.fullmatch(r"[A-Z]+ [!-~]+ HTTP/1\.1", self.requestline)
        is_valid = line is not None and not any("\0" in value for value in self.headers.values())
        if not is_valid:
            self._send(400, "expected an HTTP/1.1 request")
        return is_valid

    def finish(self) -> None:
        """Read until the client closes: closing with bytes unread resets the connection, and the answer is lost."""
        super().finish()
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(2**16):
            pass

    def do_GET(self) -> None:
        if self._is_foreign():
            return
        if self.path != "/":
            self._send(404, "no such page")
            return
        page = PAGE.read_text(encoding="utf-8").replace("/* style.css */", STYLE.read_text(encoding="utf-8"))
        self._send(200, page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        if self._is_foreign():
            return
        path, _, number = self.path.partition("?number=")
        length = self.headers.get("Content-Length", "")
        if path != "/predict" or number not in tuple("0123456789"):
            self._send(400, "expected /predict?number= and a number 0-9")
        elif not length.isdecimal() or len(length) > 20:
            self._send(411, "expected a Content-Length")
        elif int(length) > MAX_REQUEST_BYTES:
            self._send(413, f"expected at most {MAX_REQUEST_BYTES:,} bytes")
        else:
            self._predict(self.rfile.read(int(length)), int(number))

    def _predict(self, picture: bytes, number: int) -> None:
        assert isinstance(self.server, Server)
        try:
            image, digit, total = self.server.readers.submit(read, self.predictor, picture, number).result()
        except InputError as error:
            self._send(400, str(error))
            return
        self._send(200, json.dumps({"digit": digit, "sum": total, "image": image}), "application/json")

    def _is_foreign(self) -> bool:
        """Return whether a request comes from another site or uses another name for this host; if so, refuse it."""
        assert isinstance(self.server, Server)
        port = "" if self.server.server_port == 80 else f":{self.server.server_port}"  # browsers omit port 80
        hosts = {f"{name}{port}" for name in ("127.0.0.1", "localhost")}
        origins = {None, *(f"http://{name}" for name in hosts)}  # None: a request that no other page's script sent
        is_foreign = self.headers.get("Host") not in hosts or self.headers.get("Origin") not in origins
        if is_foreign:
            self._send(403, "only this page may ask")
        return is_foreign

    def _send(self, status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer like `_send`, instead of with http.server's own error page."""
        self._send(code, message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
        """Log nothing: each stroke is a request."""
