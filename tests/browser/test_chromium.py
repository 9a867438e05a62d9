"""The tests' own eyes: what they must not overlook."""

import pytest
from chromium import BrowserError

PAGE = "data:text/html,<meta name=viewport content='width=device-width'><body><button id=b onclick=\"this.textContent='done'\">Go</button><p>%s</p>"


def test_a_page_is_seen_clicked_and_measured(open_page):
    page = open_page(PAGE % "x", width=390)
    assert page.text("p") == "x" and page.overflow() == 0
    page.press("Tab")
    assert page.focused() == "b" and ("button", "Go") in page.names("button")
    page.press("Enter")
    assert page.text("#b") == "done"
    page.value("document.body.style.width = '500px'")
    page.click("#b")
    assert page.overflow() >= 110
    assert page.picture().startswith(b"\x89PNG") and page.pdf().startswith(b"%PDF")


def test_a_page_that_is_not_made_for_phones_is_too_wide_for_one(open_page):
    assert open_page("data:text/html,<p>x</p>", width=390).overflow() > 0


@pytest.mark.parametrize("script", ["console.error('no')", "console.warn('no')", "setTimeout(() => { throw new Error('no') })"])
def test_an_error_in_the_console_is_noticed(browser, script):
    page = browser.page()
    page.open("data:text/html,<script>%s</script>" % script)
    page.value("new Promise(done => setTimeout(done, 20))")
    page.close()
    assert len(page.errors) == 1 and "no" in page.errors[0]


def test_the_colour_scheme_is_the_one_that_was_asked_for(open_page):
    asked = "matchMedia('(prefers-color-scheme: dark)').matches"
    assert [open_page(PAGE % "x", dark=dark).value(asked) for dark in (True, False)] == [True, False]


def test_without_scripts_none_runs(open_page):
    page = open_page("data:text/html,<p>no</p><script>document.querySelector('p').textContent = 'ran'</script>", script=False)
    assert page.text("p") == "no"


def test_what_does_not_come_is_an_error(open_page):
    with pytest.raises(BrowserError, match="did not come true"):
        open_page(PAGE % "x").wait("document.querySelector('#never')", 0.2)
