"""The gateway's page as people use it: a real browser, the real gateway, a real model server with the demo models."""

import json
import pathlib

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SCENE = CHECKOUT / "models/digits_detector/scene.png"
TOKEN = "0123456789abcdef0123456789abcdef"
ANSWERED = "!document.querySelector('#result').hidden && document.querySelector('#annotated').naturalWidth"
ROWS = "[...document.querySelectorAll('#scores tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"

ONE_LINE = """[...document.querySelectorAll('%s')].every(cell => {
  const text = document.createRange(); text.selectNodeContents(cell); return text.getClientRects().length <= 1 })"""


def ask(page, target=None):
    """Chooses the demo's scene, and a model if it is not the first; returns the rows of the answer."""
    page.choose_file("#picture", SCENE)
    page.wait("!document.querySelector('#preview').hidden")
    if target is not None:
        page.value("document.querySelector('#target').value = %s" % json.dumps(target))
    page.click("#send")
    page.wait(ANSWERED)
    return page.value(ROWS)


def contrast(page, selector):
    """The contrast of an element's text to what is behind it, by the rule of WCAG."""
    def luminance(colour):
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    behind = page.value("(one => { while (getComputedStyle(one).backgroundColor === 'rgba(0, 0, 0, 0)') one = one.parentElement;"
                        " return getComputedStyle(one).backgroundColor })(document.querySelector(%s))" % json.dumps(selector))
    high, low = sorted([luminance(page.colours(selector)[0]), luminance(behind)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_picture_is_chosen_and_what_the_model_sees_is_shown(gateway, open_page):
    page = open_page(gateway.url)
    rows = ask(page)
    assert len(rows) >= 8 and {row[0] for row in rows} <= set("0123456789") and rows[0][1].endswith(" %")
    assert page.text("#heading") == "digits_detector, version 1" and "by the model server" in page.text("#summary")
    assert page.value("document.querySelector('#annotated').naturalWidth") >= 480 and page.value("document.querySelector('#preview').naturalWidth") == 480
    assert page.focused() == "heading"
    # All of it comes from the gateway.
    assert [url for url in page.requests if not url.startswith((gateway.url, "data:", "blob:" + gateway.url))] == []


def test_models_and_versions_are_chosen(gateway, open_page):
    page = open_page(gateway.url)
    options = page.value("[...document.querySelectorAll('#target option')].map(option => option.value)")
    assert options == ["digits_detector", "digits_detector/labels/stable", "digits_detector/versions/1",
                       "digits", "digits/labels/stable", "digits/versions/2", "digits/versions/1"]
    rows = ask(page, "digits/versions/1")
    assert page.text("#heading") == "digits, version 1" and len(rows) == 5 and rows[0][2] == ""
    ask(page, "digits/labels/stable")
    page.wait("document.querySelector('#heading').textContent === 'digits, version 2 (stable)'")
    # Back at the window the list is asked for anew, and keeps what was chosen.
    page.value("window.dispatchEvent(new Event('focus'))")
    page.value("new Promise(done => setTimeout(done, 200))")
    assert page.value("document.querySelector('#target').value") == "digits/labels/stable"


def test_a_problem_is_said_in_plain_words_and_goes_away(gateway, open_page, tmp_path):
    page = open_page(gateway.url)
    page.click("#send")
    assert page.wait("document.querySelector('#problem').textContent") == "Choose a picture first."
    (tmp_path / "notes.png").write_text("not a picture")
    page.choose_file("#picture", tmp_path / "notes.png")
    page.click("#send")
    page.wait("document.querySelector('#problem').textContent.startsWith('This is no picture')")
    assert ("alert", "") in page.names("alert") and page.value("document.querySelector('#result').hidden")
    (tmp_path / "large.png").write_bytes(bytes(17 << 20))
    page.choose_file("#picture", tmp_path / "large.png")
    page.click("#send")
    page.wait("document.querySelector('#problem').textContent === 'The file is too large: it has 17.8 MB, and at most 16.8 MB are taken.'")
    page.errors.clear()  # the browser notes the previews and the answer 415
    ask(page)
    assert page.value("document.querySelector('#problem').hidden")


def test_a_picture_is_dropped(gateway, open_page):
    page = open_page(gateway.url)
    data = {"items": [], "files": [str(SCENE)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.call("Input.dispatchDragEvent", type=kind, x=200, y=130, data=data)
    page.wait("document.querySelector('#status').textContent === 'scene.png is chosen.'")
    page.click("#send")
    page.wait(ANSWERED)
    assert len(page.value(ROWS)) >= 8


def test_a_picture_is_pasted(gateway, open_page):
    page = open_page(gateway.url)
    page.value("""fetch('static/icon.svg').then(async () => {
        const canvas = document.createElement('canvas'); canvas.width = canvas.height = 200;
        const blob = await new Promise(done => canvas.toBlob(done));
        const data = new DataTransfer(); data.items.add(new File([blob], 'image.png', {type: 'image/png'}));
        document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}));
    })""")
    page.click("#send")
    page.wait(ANSWERED)
    assert page.text("caption") == "The model sees nothing that it knows" or page.value(ROWS)


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_on_a_phone_in_light_and_dark(gateway, open_page, dark):
    page = open_page(gateway.url, width=390, height=844, dark=dark)
    assert page.overflow() == 0
    ask(page)
    assert page.overflow() == 0
    # Short words and scores stay in one line.
    assert page.value(ONE_LINE % "#scores thead th:nth-child(-n+2), #scores td:nth-child(2)")
    for selector in ("h1", "#hint", "label", "button", "#heading", "#summary", "#scores td", "#scores th", "footer", "footer a"):
        assert contrast(page, selector) >= 4.5, selector
    page.value("document.querySelector('#problem').hidden = false; document.querySelector('#problem').textContent = 'x'.repeat(300)")
    assert contrast(page, "#problem") >= 4.5 and page.overflow() == 0
    assert (sum(map(int, page.colours()[1][4:-1].split(","))) < 200) == dark


def test_the_keyboard_is_enough(gateway, open_page):
    page = open_page(gateway.url)
    page.press("Tab")
    assert page.focused() == "picture"
    page.choose_file("#picture", SCENE)  # the window that Enter opens is the system's
    page.press("Tab")
    assert page.focused() == "target"
    for _ in range(3):
        page.press("ArrowDown")
    assert page.value("document.querySelector('#target').value") == "digits"
    page.press("Tab")
    assert page.focused() == "send"
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    page.wait(ANSWERED)
    assert page.focused() == "heading" and page.text("#heading") == "digits, version 2"
    page.press("Tab")
    assert page.focused() == "a"


def test_a_screen_reader_meets_names(gateway, open_page):
    page = open_page(gateway.url)
    ask(page)
    names = page.names("button", "combobox", "heading", "image", "table", "columnheader", "status", "link", "region")
    assert not [role for role, name in names if not name and role != "status"]
    assert ("button", "Picture") in names and ("combobox", "Model and version") in names and ("table", "What the model sees") in names
    assert ("region", "digits_detector, version 1") in names
    assert next(name for role, name in names if role == "image" and "what the model sees" in name).endswith("3")
    assert page.value("document.documentElement.lang") == "en" and page.value("document.title")


def test_without_scripts_the_form_does_the_same(gateway, open_page):
    page = open_page(gateway.url, script=False)
    page.choose_file("#picture", SCENE)
    page.click("#send")
    page.wait("document.querySelectorAll('#scores tbody tr').length >= 8")
    assert "digits_detector, version 1" in page.text("#heading") and page.value("document.querySelector('#annotated').naturalWidth") >= 480


def test_with_a_token(server, start_gateway, open_page, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    page = open_page(start_gateway(server.address, token_file=str(tmp_path / "token")).url)
    page.choose_file("#picture", SCENE)
    assert "digits" not in page.text()
    page.click("#send")
    assert page.wait("document.querySelector('#problem').textContent") == "Write the access token into its field first."
    for token in ("wrong", TOKEN):
        page.value("document.querySelector('#token').select()")
        page.click("#token")
        page.value("document.querySelector('#token').value = ''")
        page.type(token)
        page.press("Tab")
        if token == "wrong":
            page.wait("document.querySelector('#problem').textContent.startsWith('This is not a token')")
            page.errors.clear()  # the browser notes the answer 401
    page.wait("document.querySelectorAll('#target option').length === 7")
    page.click("#send")
    page.wait(ANSWERED)
    assert TOKEN not in page.value("JSON.stringify([location.href, document.cookie, {...localStorage}, {...sessionStorage}])")
    assert not [url for url in page.requests if TOKEN in url]
