"""`mnistsum draw`: a local page to draw digits on, answered by a trained network as you draw."""

import json
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from mnistsum.app import STYLE
from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.options import Draw
from mnistsum.errors import InputError
from mnistsum.picture import read_picture
from mnistsum.predict import Predictor, load_pretrained

PAGE = Path(__file__).with_name("draw.html")
LARGEST = 1_000_000  # bytes of a request's body
# The page's own style and script, its own server, and nothing else.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


def draw(options: Draw) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    if not 0 <= options.port < 2**16:
        raise InputError(f"--port: expected 0 to 65535, found {options.port}")
    set_up_compiler()
    with serve(load_pretrained(options.model, options.config), options.port) as server:
        try:
            print(f"draw at http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


class Server(ThreadingHTTPServer):
    """A thread a request."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that has gone or stalls."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def serve(predictor: Predictor, port: int) -> Server:
    """Return a server of the page on loopback, its network compiled; InputError where the port is taken."""
    predictor.predict(np.zeros((1, 28, 28, 1), np.uint8), np.zeros(1, int))
    try:
        return Server(("127.0.0.1", port), partial(Handler, predictor))
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; give another, or none") from None


class Handler(BaseHTTPRequestHandler):
    """GET / is the page; POST /predict?number=N with a picture as its body is answered with the probabilities."""

    timeout = 10  # seconds that a client may stall

    def __init__(self, predictor: Predictor, *arguments: Any):
        self.predictor = predictor
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if self._is_foreign():
            return
        if self.path != "/":
            self._send(404, "no such page")
            return
        page = PAGE.read_text().replace("/* style.css */", STYLE.read_text())
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
        elif int(length) > LARGEST:
            self._send(413, f"expected at most {LARGEST:,} bytes")
        else:
            self._predict(self.rfile.read(int(length)), int(number))

    def _predict(self, picture: bytes, number: int) -> None:
        try:
            image = read_picture(picture, "drawing")
        except InputError as error:
            self._send(400, str(error))
            return
        digit, total = (values[0].tolist() for values in self.predictor.predict(image[None], np.array([number])))
        self._send(200, json.dumps({"digit": digit, "sum": total, "image": image.ravel().tolist()}), "application/json")

    def _is_foreign(self) -> bool:
        """Whether another site's page asks, or asks by another name for this machine; refuses if so."""
        assert isinstance(self.server, Server)
        own = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        origin = self.headers.get("Origin", f"http://{min(own)}")
        foreign = self.headers.get("Host") not in own or origin not in {f"http://{name}" for name in own}
        if foreign:
            self._send(403, "only this page may ask")
        return foreign

    def _send(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that http.server gives
        """Says nothing: each stroke is a request."""
