"""`mnistsum draw`: a local page, whose drawings a network reads as you draw."""

import html
import socket
import sys
import webbrowser
from argparse import Namespace

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from mnistsum.app import STYLE
from mnistsum.errors import InputError
from mnistsum.picture import read_picture
from mnistsum.predict import Predictor, load_pretrained
from mnistsum.programs import set_up_compiler

MAX_BYTES = 1_000_000  # of a request's body
# The page's own style and script, its own server, and nothing else.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    "'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def run_draw(options: Namespace) -> int:
    """Serve the page until Ctrl-C; return the exit status."""
    if not 0 <= options.port <= 65535:
        raise InputError(
            f"--port {options.port}: expected a port from 1 to 65535, or 0 for any "
            "free one"
        )
    set_up_compiler()
    try:
        listener = socket.create_server(("127.0.0.1", options.port), backlog=128)
    except OSError:
        raise InputError(
            f"--port {options.port}: in use, or not permitted; give another, or none"
        ) from None
    with listener:
        port = listener.getsockname()[1]
        server = make_server(load_pretrained(options.model, options.config), port)
        address = f"http://127.0.0.1:{port}/"
        print(f"draw at {address} (Ctrl-C ends it)", flush=True)
        if sys.stdout.isatty() and not options.no_browser:
            webbrowser.open(address)  # its first request waits for the server
        try:
            server.run([listener])
        except KeyboardInterrupt:
            print()
    return 0


def make_server(predictor: Predictor, port: int) -> uvicorn.Server:
    """Return a server of the page, with its network compiled.

    It only answers requests to this port of this machine.
    """
    predictor.predict(np.zeros((1, 28, 28, 1), np.uint8), 0)
    # browsers omit port 80
    hosts = {
        f"{name}:{port}".removesuffix(":80") for name in ("127.0.0.1", "localhost")
    }
    # None: a request that no other page's script sent
    origins = {None, *(f"http://{host}" for host in hosts)}

    page = STYLE.with_name("draw.html").read_text(encoding="utf-8")
    page = page.replace("/* style.css */", STYLE.read_text(encoding="utf-8"))
    page = page.replace("<!-- network -->", html.escape(predictor.config.name))

    async def answer(request: Request) -> Response:
        if (
            request.headers.get("Host") not in hosts
            or request.headers.get("Origin") not in origins
        ):
            return PlainTextResponse("only this page may ask", 403)
        if request.method != "POST":
            return HTMLResponse(page)
        picture = b""
        async for part in request.stream():
            picture += part
            if len(picture) > MAX_BYTES:
                return PlainTextResponse(f"expected at most {MAX_BYTES:,} bytes", 413)
        return await run_in_threadpool(
            _answer_drawing, predictor, picture, request.query_params.get("number", "")
        )

    async def respond(request: Request) -> Response:
        response = await answer(request)
        response.headers.update(
            {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        )
        return response

    app = Starlette(
        routes=[Route("/", respond), Route("/predict", respond, methods=["POST"])]
    )
    return uvicorn.Server(
        uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
    )


def _answer_drawing(predictor: Predictor, picture: bytes, number: str) -> Response:
    """Return the image that the network sees, and its probabilities."""
    try:
        if number not in tuple("0123456789"):
            raise InputError("expected /predict?number= and a number 0-9")
        image = read_picture(picture, "drawing")
    except InputError as error:
        return PlainTextResponse(str(error), 400)
    digit, total = predictor.predict(image[None], int(number))
    return JSONResponse(
        {
            "digit": digit[0].tolist(),
            "sum": total[0].tolist(),
            "image": image.ravel().tolist(),
        }
    )
