"""The page to draw on: its server refuses foreign requests, and in a browser it answers as Python does."""

import base64
import contextlib
import http.client
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from programs import ROOT

from mnistsum.app import draw
from mnistsum.errors import InputError
from mnistsum.picture import read_picture
from mnistsum.predict import load_pretrained


@contextlib.contextmanager
def serving():
    with draw.serve(load_pretrained("base"), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


def ask(server, method, path, body=None, **headers) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    return response.status, response.read()


def drawing(image) -> bytes:
    file = io.BytesIO()
    Image.fromarray(255 - image[..., 0]).resize((280, 280)).save(file, "PNG")
    return file.getvalue()


def test_the_page_fetches_nothing_from_elsewhere(server):
    status, page = ask(server, "GET", "/")
    assert status == 200
    assert b"--accent: " in page  # it includes the shared style
    assert not re.search(rb"https?://|(src|href)=\"(?!data:)", page)
    assert server.server_address[0] == "127.0.0.1"  # nor is it served to elsewhere


def test_a_drawing_is_answered_as_python_answers(server, mnist):
    picture = drawing(mnist.test.images[0])
    status, answer = ask(server, "POST", "/predict?number=4", picture)
    assert status == 200
    answer = json.loads(answer)
    image = read_picture(picture, "it")
    assert answer["image"] == image.ravel().tolist()
    digit, total = load_pretrained("base").predict(image[None], np.array([4]))
    np.testing.assert_allclose(answer["digit"], digit[0], rtol=1e-5)
    np.testing.assert_allclose(answer["sum"], total[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/predict?number=10", b"", {}, 400),
        ("/predict", b"", {}, 400),
        ("/predict?number=1", b"no picture", {}, 400),
        ("/predict?number=1", b"", {"Content_Length": "-1"}, 411),
        ("/predict?number=1", b"", {"Content_Length": "1000001"}, 413),
        ("/predict?number=1", b"", {"Content_Length": "9" * 5000}, 411),
        ("/predict?number=1", b"", {"Origin": "http://example.com"}, 403),
        ("/predict?number=1", b"", {"Host": "example.com"}, 403),
    ],
)
def test_what_is_malformed_too_large_or_foreign_is_refused(server, path, body, headers, status):
    found, answer = ask(server, "POST", path, body, **headers)
    assert found == status
    assert answer
    assert b"\n" not in answer


@pytest.mark.parametrize(
    ("request_line", "header"),
    [
        (b"GET /", b""),
        (b"GET / HTTP/1.0", b""),
        (b"GET / HTTP/2.0", b""),
        (b"GET\xa0/ HTTP/1.1", b""),
        (b"GET /\0 HTTP/1.1", b""),
        (b"GET / HTTP/1.1", b"X-Name: a\0b\r\n"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b""),
    ],
    ids=["HTTP/0.9", "HTTP/1.0", "HTTP/2", "no space", "NUL", "NUL in a header", "TLS"],
)
def test_what_is_not_http_1_1_is_refused_in_one_line(server, request_line, header):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as client:
        client.sendall(request_line + f"\r\nHost: 127.0.0.1:{server.server_port}\r\n".encode() + header + b"\r\n")
        status, _, answer = client.makefile("rb").read().partition(b"\r\n")
    assert status.split()[1] in (b"400", b"505")
    headers, _, body = answer.partition(b"\r\n\r\n")
    for header in (
        b"Content-Security-Policy: default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        b"script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        b"X-Content-Type-Options: nosniff",
    ):
        assert header in headers.split(b"\r\n")
    assert body
    assert b"\n" not in body


def test_a_large_picture_is_refused_by_its_header(server):
    file = io.BytesIO()
    Image.new("1", (7000, 7000)).save(file, "PNG")
    start = file.getvalue()[:100]  # whatever reads further reports it as damaged
    answer = ask(server, "POST", "/predict?number=1", start)
    assert answer == (400, b"drawing: expected at most 262,144 pixels, found more")


def test_the_limits_are_those_that_the_page_on_security_promises():
    limits = draw.MAX_CONNECTIONS, draw.MAX_SECONDS, draw.MAX_REQUEST_BYTES, draw.MAX_PIXELS
    assert limits == (64, 10.0, 1_000_000, 512 * 512)
    page = " ".join((ROOT / "docs" / "security.md").read_text().split())
    assert "At most 64 connections are open at a time, a connection ends after 10 seconds" in page
    assert "a request has at most 1 MB and a picture at most 512 x 512 pixels" in page


def test_a_client_that_sends_byte_by_byte_is_ended(monkeypatch):
    monkeypatch.setattr(draw, "MAX_SECONDS", 0.2)
    with serving() as server, socket.create_connection(("127.0.0.1", server.server_port), timeout=0.1) as client:
        for _ in range(100):
            client.sendall(b"G")
            with contextlib.suppress(TimeoutError):
                assert client.recv(1) == b""
                return
    pytest.fail("the connection is still open")


def test_connections_beyond_the_maximum_wait_until_one_ends(monkeypatch):
    monkeypatch.setattr(draw, "MAX_CONNECTIONS", 2)
    with serving() as server, contextlib.ExitStack() as stack:
        address = "127.0.0.1", server.server_port
        first, _, third = (stack.enter_context(socket.create_connection(address, timeout=0.2)) for _ in range(3))
        third.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        with pytest.raises(TimeoutError):
            third.recv(1)
        first.close()
        third.settimeout(30)
        assert third.recv(12) == b"HTTP/1.0 200"


@pytest.mark.slow
def test_fifty_clients_at_once_are_all_answered(server, mnist):
    picture = drawing(mnist.test.images[0])
    with ThreadPoolExecutor(50) as clients:
        answers = [clients.submit(ask, server, "POST", "/predict?number=4", picture) for _ in range(400)]
        assert {answer.result() for answer in answers} == {ask(server, "POST", "/predict?number=4", picture)}


def test_a_body_that_is_too_large_for_the_system_s_buffers_is_answered_too(server):
    assert ask(server, "POST", "/predict?number=1", bytes(20_000_000)) == (413, b"expected at most 1,000,000 bytes")


def test_other_pages_and_other_sites_are_refused(server):
    assert ask(server, "GET", "/../README.md")[0] == 404
    assert ask(server, "GET", "/", Host="example.com")[0] == 403
    assert ask(server, "PUT", "/")[0] == 501


def test_a_client_that_disconnects_causes_no_error_message(server, capsys):
    before = set(threading.enumerate())
    with socket.create_connection(("127.0.0.1", server.server_port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it leaves with a reset
        host = f"Host: 127.0.0.1:{server.server_port}"
        client.sendall(f"POST /predict?number=1 HTTP/1.1\r\n{host}\r\nContent-Length: 500\r\n\r\nabc".encode())
        while not (new := {thread for thread in threading.enumerate() if thread.is_alive()} - before):
            pass
    for handler in new:
        handler.join(30)
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_named(server):
    with pytest.raises(InputError, match=f"--port {server.server_port}: Address already in use"):
        draw.serve(load_pretrained("base"), server.server_port)


@pytest.mark.slow
def test_the_program_says_one_line_and_ends_with_ctrl_c():
    command = [sys.executable, "-m", "mnistsum", "draw"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # If the tests run in a shell's background, SIGINT is ignored, and this program would ignore it too.
    process = subprocess.Popen(
        command, cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes
    )
    assert process.stdout is not None
    assert re.fullmatch(r"draw at http://127.0.0.1:\d+/ \(Ctrl-C ends it\)\n", process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert (process.returncode, rest.strip(), errors) == (0, "", "")


@pytest.fixture(params=[1280, 390])
def browser(server, request):
    """Headless Chromium, as wide as on a desktop or a phone, with the page open."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `browser` is not installed")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars"):
        options.add_argument(argument)
    if request.param < 500:  # a window cannot be so narrow
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": {"width": 390, "height": 844}})
    options.add_argument("--window-size=1280,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")) as browser:
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        yield browser
        assert browser.get_log("browser") == []


def until_answered(browser, before=""):
    """Return the page's answer, once it differs from `before` and no request is pending."""
    from selenium.webdriver.support.wait import WebDriverWait

    settled = "return asking || again ? '' : document.getElementById('answer').textContent"
    WebDriverWait(browser, 20, 0.05).until(lambda browser: browser.execute_script(settled) not in ("", before))
    return browser.execute_script(settled)


@pytest.mark.slow
@pytest.mark.parametrize("browser", [1280], indirect=True)
def test_digits_drawn_in_a_browser_are_answered_as_by_python(browser, mnist):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    paper, predictor, right = browser.find_element("id", "paper"), load_pretrained("base"), 0
    cell, answer = paper.size["width"] / 28, ""
    for image, label in zip(mnist.test.images[:10], mnist.test.labels[:10], strict=True):
        actions = ActionBuilder(browser, duration=0)
        pen = actions.pointer_action
        for row, values in enumerate(image[..., 0] > 127):
            edges = np.flatnonzero(np.diff(np.pad(values, 1).astype(int)))
            for start, end in zip(edges[::2], edges[1::2], strict=True):  # a run of ink: a stroke within it
                left, right_end = (start + 1, end - 1) if end - start > 2 else ((start + end) / 2,) * 2
                places = [(int((column - 14) * cell), int((row - 13.5) * cell)) for column in (left, right_end)]
                pen.move_to(paper, *places[0]).pointer_down().move_to(paper, *places[1]).pointer_up()
        actions.perform()
        answer = until_answered(browser, answer)
        drawn = browser.execute_script("return document.getElementById('paper').toDataURL()")
        seen = read_picture(base64.b64decode(drawn.partition(",")[2]), "it")
        digit, total = predictor.predict(seen[None], np.array([5]))
        assert answer == f"{digit[0].argmax()} + 5 = {total[0].argmax()}"
        right += digit[0].argmax() == label
        browser.find_element("id", "clear").click()
        assert browser.execute_script("return document.getElementById('answer').textContent") == ""
    assert right >= 8


@pytest.mark.slow
def test_the_page_fits_and_is_drawn_on_by_keyboard(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    width = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    up, down = [Keys.ARROW_UP] * 8, [Keys.ARROW_DOWN] * 16
    ActionChains(browser).send_keys(Keys.TAB, *up, " ", *down, " ").perform()  # a vertical line
    assert until_answered(browser) == "1 + 5 = 6"
    ActionChains(browser).send_keys("7").perform()
    assert until_answered(browser, "1 + 5 = 6") == "1 + 7 = 8"
    assert browser.execute_script("return document.querySelector(':checked').value") == "7"
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    assert browser.execute_script("return document.getElementById('answer').textContent") == ""
    unnamed = "return [...document.querySelectorAll('canvas')].filter(c => !c.getAttribute('aria-label')).length"
    assert browser.execute_script(unnamed) == 0
