"""The page to draw on: its server refuses foreign requests, and in a browser it answers as Python does."""

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
def picture(mnist) -> bytes:
    file = io.BytesIO()
    Image.fromarray(255 - mnist.test.images[0, ..., 0]).resize((280, 280)).save(
        file, "PNG"
    )
    return file.getvalue()


def ask(
    port, method="POST", path="/predict?number=4", body=b"", **headers
) -> tuple[int, bytes]:
    with closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    ) as connection:
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
        ((status, answer),) = set(
            pool.map(lambda _: ask(port, body=picture), range(4 * clients))
        )
    answer, image = json.loads(answer), read_picture(picture)
    assert status == 200
    assert answer.pop("image") == image.ravel().tolist()
    expected = load_pretrained("base").predict(image[None], 4)._asdict()
    for output, probabilities in expected.items():
        np.testing.assert_allclose(answer[output], probabilities[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"path": "/predict?number=10"}, 400),
        ({"path": "/predict"}, 400),
        ({"body": b"no picture"}, 400),
        ({"body": bytes(1_000_001)}, 413),
        ({"Origin": "http://example.com"}, 403),
        ({"method": "GET", "path": "/", "Host": "example.com"}, 403),
    ],
)
def test_malformed_large_and_foreign_requests_are_refused_in_one_line(
    port, picture, arguments, status
):
    found, answer = ask(port, **{"body": picture, **arguments})
    assert found == status
    assert answer and b"\n" not in answer


def test_a_port_that_is_taken_is_named_in_one_line(port, run_program):
    answer = f"error: --port {port}: in use, or not permitted; give another, or none\n"
    assert run_program(command, "draw", "--port", port) == (2, answer)


@pytest.fixture(params=[1280, 390])
def browser(port, request):
    """Headless Chromium, as wide as on a desktop or a phone, with the page open."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason="the extra `browser` is not installed"
    )
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        "--window-size=1280,900",
    ):
        options.add_argument(argument)
    if request.param < 500:  # a window cannot be so narrow
        options.add_experimental_option(
            "mobileEmulation", {"deviceMetrics": {"width": 390, "height": 844}}
        )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(
        options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
    ) as browser:
        browser.get(f"http://127.0.0.1:{port}/")
        yield browser
        assert browser.get_log("browser") == []


@pytest.mark.slow
def test_the_page_fits_and_answers_what_is_drawn_with_pointer_and_keyboard(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    def act(*keys: str) -> ActionChains:
        return ActionChains(browser).send_keys(*keys)

    def assert_shows(answer: str) -> None:
        WebDriverWait(browser, 20, 0.05).until(
            lambda _: browser.find_element("id", "answer").text == answer
        )
        assert browser.find_element("id", "hint").is_displayed() == (not answer)

    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= window.innerWidth"
    )
    assert_shows("")
    paper = browser.find_element("id", "paper")
    act().move_to_element_with_offset(paper, 0, -90).click_and_hold().move_by_offset(
        0, 180
    ).release().perform()
    assert_shows("1 + 5 = 6")
    act("7").perform()
    assert_shows("1 + 7 = 8")
    act().key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    assert_shows("")
    browser.execute_script("arguments[0].focus()", paper)
    # a vertical line
    act(*[Keys.ARROW_UP] * 8, " ", *[Keys.ARROW_DOWN] * 16, " ").perform()
    assert_shows("1 + 7 = 8")


@pytest.mark.slow
def test_both_lists_begin_beside_the_canvas_and_the_likeliest_stands_out(browser):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.wait import WebDriverWait

    def style(name: str, selector: str) -> list:
        script = "return [...document.querySelectorAll(arguments[1])].map(each => getComputedStyle(each)[arguments[0]])"
        return browser.execute_script(script, name, selector)

    paper, answer, *titles = (
        browser.find_element("id", name)
        for name in ("paper", "answer", "digit-title", "sum-title")
    )
    before = paper.rect
    line = (
        ActionChains(browser)
        .move_to_element_with_offset(paper, 0, -90)
        .click_and_hold()
        .move_by_offset(0, 180)
    )
    line.release().perform()
    WebDriverWait(browser, 20, 0.05).until(lambda _: answer.text)
    assert paper.rect == before  # it does not move while one draws
    assert answer.rect["y"] + answer.rect["height"] <= before["y"]
    width = browser.execute_script("return window.innerWidth")
    if width > 500:  # on a phone, they are below
        assert [title.rect["y"] for title in titles] == pytest.approx(
            [before["y"]] * 2, abs=1
        )
    assert (
        browser.execute_script("return document.documentElement.scrollWidth") <= width
    )
    for output in ("digit", "sum"):
        name, share = (
            float(size.removesuffix("px"))
            for size in style("fontSize", f"#{output} .best")
        )
        other = float(
            style("fontSize", f"#{output} > :not(.best)")[0].removesuffix("px")
        )
        assert name == share > 1.15 * other
        assert {*style("color", f"#{output} .best")}.isdisjoint(
            style("color", f"#{output} > :not(.best)")
        )
