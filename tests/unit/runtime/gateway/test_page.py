"""The page as it comes from the gateway, and what it answers to browsers without scripts; tests/browser has the rest."""

import io
import re
from html.parser import HTMLParser

import pytest

from .parts import picture

FORM = "multipart/form-data"


class Tags(HTMLParser):
    """[(tag, attributes)] of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def form(target="cats", content=None):
    return {"picture": (io.BytesIO(picture() if content is None else content), "x.png"), "target": target}


def test_nothing_comes_from_elsewhere_and_no_script_or_style_stands_in_the_page(gateway):
    tags = Tags(gateway().get("/").text).found
    assert [attributes for tag, attributes in tags if tag == "script"] == [{"src": "static/page.js", "defer": None}]
    assert not [tag for tag, attributes in tags if tag == "style" or "style" in attributes or any(name.startswith("on") for name in attributes)]
    places = [value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href", "action")]
    assert places and not [place for place in places if place.startswith(("/", "http"))]  # also below a proxy's path


def test_its_files_are_there_and_load_nothing_else(gateway):
    client = gateway()
    for name in ("page.js", "page.css", "icon.svg"):
        with client.get("/static/" + name) as answer:
            assert answer.status_code == 200
            assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|innerHTML|eval\(", answer.text), name


def test_models_versions_and_labels_are_offered(gateway):
    text = gateway().get("/").text
    assert re.findall(r'<option value="([^"]+)"', text) == ["cats", "cats/labels/stable", "cats/versions/7"]
    assert "cats, stable (version 7)" in text and "version 6" not in text  # which is not AVAILABLE


def test_a_model_that_nobody_serves_cannot_be_chosen(gateway, served):
    served.fail = ("UNAVAILABLE", "gone")
    text = gateway().get("/").text
    assert "cats (not served now)" in text and re.search(r'<option value="cats"\s+disabled', text)


def test_without_scripts_the_answer_is_in_the_page(gateway):
    text = gateway().post("/", data=form("cats/versions/7"), content_type=FORM).text
    assert "cats, version 7" in text and 'src="data:image/jpeg;base64,' in text and "90.0 %" in text
    assert re.search(r'value="cats/versions/7" selected', text)


def test_names_from_files_are_text(gateway):
    text = gateway().post("/", data=form(), content_type=FORM).text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text and "<img src=x" not in text


def test_a_problem_is_said_in_the_page(gateway):
    client = gateway()
    answer = client.post("/", data=form(content=b"GIF89a"), content_type=FORM)
    assert answer.status_code == 415 and "This is a GIF file" in answer.text and 'role="alert" >' in answer.text
    answer = client.post("/", data=form('"><script>alert(1)</script>'), content_type=FORM)
    assert answer.status_code == 404 and "<script>alert" not in answer.text
    assert client.post("/", data={}).status_code == 404


@pytest.mark.parametrize("values, status, said", [
    (form("cats/versions/two"), 404, "A version is a number"),
    (form(content=picture().ljust(5000)), 413, "The file is too large"), (form(content=bytes(100000)), 413, "The file is too large"),
])  # fmt: skip
def test_it_is_said_in_the_page_before_the_picture_is_looked_at_too(gateway, values, status, said):
    answer = gateway(body_bytes=4096).post("/", data=values, content_type=FORM)
    assert answer.status_code == status and said in answer.text and 'role="alert" >' in answer.text


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("settings, headers, status, said", [
    ({"rate": 0.1, "burst": 1}, {}, 429, "Too many requests"), ({"token_file": "token"}, {}, 401, "This gateway wants a token"),
    ({"proxy_addresses": ["127.0.0.1"], "proxy_user_header": "X-User"}, {}, 401, "Log in at the proxy"),
    ({}, {"Origin": "http://elsewhere.example"}, 403, "a page of another site"), ({}, {"Host": "elsewhere.example"}, 403, "answers on this machine only"),
])  # fmt: skip
def test_who_is_refused_reads_it_in_a_page_and_a_program_in_json(gateway, settings, headers, status, said):
    client = gateway(**settings)
    if status == 429:
        client.get("/")
    answer = client.post("/", data=form(), content_type=FORM, headers={"Accept": BROWSER, **headers})
    assert (answer.status_code, answer.mimetype) == (status, "text/html") and said in answer.text and 'role="alert" >' in answer.text
    assert "cats" not in answer.text and not {"script", "form"} & {tag for tag, _ in Tags(answer.text).found}
    assert ("Retry-After" in answer.headers, "WWW-Authenticate" in answer.headers) == (status == 429, status == 401)
    for accept in ("*/*", "application/json"):
        assert said in client.post("/", data=form(), content_type=FORM, headers={"Accept": accept, **headers}).get_json()["error"]
    assert said in client.post("/api/v1/models/cats:predict", data=picture(), headers={"Accept": BROWSER, **headers}).get_json()["error"]


def test_who_opens_the_page_too_often_reads_it_there(gateway):
    client = gateway(rate=0.1, burst=1)
    assert [client.get("/", headers={"Accept": BROWSER}).mimetype for _ in range(2)] == ["text/html"] * 2


def test_who_has_no_token_learns_no_model(gateway):
    client = gateway(token_file="token")
    answer = client.get("/")
    assert answer.status_code == 200 and "cats" not in answer.text and 'id="token"' in answer.text
    assert client.post("/", data=form(), content_type=FORM).status_code == 401


def test_who_comes_through_the_proxy_sees_the_models(gateway):
    client = gateway(token_file="token", proxy_addresses=["127.0.0.1"], proxy_user_header="X-User")
    assert client.get("/").status_code == 401
    answer = client.get("/", headers={"X-User": "ann"})
    assert 'value="cats"' in answer.text and 'id="token"' not in answer.text
