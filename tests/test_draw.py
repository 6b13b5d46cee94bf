"""The page to draw on, in a browser, and what its server refuses."""

import http.client
import io
import json
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from mnistsum.app import draw
from mnistsum.app.main import command
from mnistsum.picture import read_picture
from mnistsum.predict import load_pretrained


@pytest.fixture(scope="module")
def port():
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        port = listener.getsockname()[1]
        server = draw.make_server(load_pretrained("base"), port)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield port
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def picture(mnist):
    file = io.BytesIO()
    image = Image.fromarray(255 - mnist.test.images[0, ..., 0])
    image.resize((280, 280)).save(file, "PNG")
    return file.getvalue()


def ask(port, method="POST", path="/predict?number=4", body=b"", **headers):
    """Return the status and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return response.status, response.read()


def test_the_page_fetches_nothing_from_elsewhere(port):
    status, page = ask(port, "GET", "/")
    assert status == 200
    assert b"--accent: " in page  # it includes the shared style
    assert not re.search(rb"https?://|(src|href)=\"(?!data:)", page)


@pytest.mark.parametrize("clients", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_every_client_gets_the_answer_of_python(port, picture, clients):
    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(ask, port, body=picture) for _ in range(4 * clients)]
    ((status, answer),) = {each.result() for each in asked}
    answer, image = json.loads(answer), read_picture(picture)
    assert status == 200
    assert answer.pop("image") == image.ravel().tolist()
    expected = load_pretrained("base").predict(image[None], 4)._asdict()
    for output, (probabilities,) in expected.items():
        np.testing.assert_allclose(answer[output], probabilities, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, status",
    [
        ({"path": "/predict?number=10"}, 400),
        ({"path": "/predict"}, 400),
        ({"body": b"no picture"}, 400),
        ({"body": bytes(1_000_001)}, 413),
        ({"Origin": "http://example.com"}, 403),
        ({"method": "GET", "path": "/", "Host": "example.com"}, 403),
    ],
)
def test_a_malformed_large_or_foreign_request_is_refused(
    port, picture, arguments, status
):
    found, answer = ask(port, **{"body": picture} | arguments)
    assert found == status
    assert answer
    assert b"\n" not in answer


def test_a_port_that_is_taken_is_named_in_one_line(port, run_program):
    answer = f"error: --port {port}: in use, or not permitted; give another, or none\n"
    assert run_program(command, "draw", "--port", port) == (2, answer)


@pytest.fixture
def page(browser, port):
    """The page, open in a browser."""
    browser.get(f"http://127.0.0.1:{port}/")
    return browser


def act(page):
    action_chains = pytest.importorskip("selenium.webdriver.common.action_chains")
    return action_chains.ActionChains(page)


@pytest.mark.slow
def test_the_page_answers_what_is_drawn_with_pointer_or_keyboard(page):
    keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
    wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait
    paper, answer, hint, *titles = (
        page.find_element("id", name)
        for name in ("paper", "answer", "hint", "digit-title", "sum-title")
    )
    before = paper.rect

    def assert_shows(text):
        wait(page, 20, 0.05).until(lambda _: answer.text == text)
        assert hint.is_displayed() == (not text)
        # the page fits, and the canvas does not move while one draws
        width = "return document.documentElement.scrollWidth - window.innerWidth"
        assert page.execute_script(width) <= 0
        assert paper.rect == before

    assert_shows("")
    line = act(page).move_to_element_with_offset(paper, 0, -90).click_and_hold()
    line.move_by_offset(0, 180).release().perform()
    assert_shows("1 + 5 = 6")
    act(page).send_keys("7").perform()
    assert_shows("1 + 7 = 8")
    assert answer.rect["y"] + answer.rect["height"] <= before["y"]
    if page.execute_script("return window.innerWidth > 500"):  # on a phone, below
        tops = [title.rect["y"] for title in titles]
        assert tops == pytest.approx([before["y"]] * 2, abs=1)
    size = "return parseFloat(getComputedStyle(document.querySelector('#{}')).fontSize)"
    for output in ("digit", "sum"):  # the likeliest stands out
        best, other = (
            page.execute_script(size.format(f"{output} > {kind}"))
            for kind in (".best", ":not(.best)")
        )
        assert best > 1.15 * other
    act(page).key_down(keys.CONTROL).send_keys("z").key_up(keys.CONTROL).perform()
    assert_shows("")
    page.execute_script("arguments[0].focus()", paper)
    vertical = [*[keys.ARROW_UP] * 8, " ", *[keys.ARROW_DOWN] * 16, " "]
    act(page).send_keys(*vertical).perform()
    assert_shows("1 + 7 = 8")
