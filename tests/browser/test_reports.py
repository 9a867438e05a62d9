"""The pages of a rollout and of the fleet as people open them: from the disk, on a phone, in the dark, on paper."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import report_pages


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The pages by name, of a fleet with long names and of a rollout in which much went wrong."""
    names = ("orin-01.north.example.org", "orin-02." + "a-very-long-name." * 6 + "example.org", "nano-1", "nano-2")
    hosts = {name: report_pages.host(stable=1 if number else 2, site="south " * number) for number, name in enumerate(names)}
    hosts["away"] = {}
    lines = report_pages.ledger(names, text=" " + "x" * 200)
    return {"rollout": report_pages.rollout_page(tmp_path_factory.mktemp("rollout"), lines),
            "status": report_pages.status_page(tmp_path_factory.mktemp("status"), hosts, lines)}


@pytest.mark.parametrize("name", ["rollout", "status"])
def test_a_page_fits_phone_and_desk_needs_nothing_from_elsewhere_and_runs_no_script(written, open_page, name):
    page = open_page(written[name], width=390, script=False)
    assert page.overflow() == 0
    page.show(1200)
    assert page.overflow() == 0
    assert page.requests == [written[name].as_uri()]
    # A drawing that is there and has no size shows nothing.
    sizes = page.value("[...document.querySelectorAll('svg')].map(one => one.getBoundingClientRect()).map(box => Math.min(box.width, box.height))")
    assert sizes and min(sizes) > 10
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["rollout", "status"])
def test_a_page_is_dark_where_people_want_it_dark(written, open_page, name):
    light, dark = (open_page(written[name], dark=dark).colours() for dark in (False, True))
    assert light == ("rgb(26, 29, 33)", "rgb(255, 255, 255)")
    assert dark == ("rgb(232, 234, 237)", "rgb(20, 23, 26)")


def test_a_screen_reader_meets_headings_tables_and_what_drawings_are(written, open_page):
    names = open_page(written["rollout"]).names("heading", "image", "table", "columnheader")
    for role, name in (("heading", "Waves"), ("heading", "Sample predictions"), ("image", "What each host did when"), ("columnheader", "New ms"),
                       ("image", "Objects, answered and expected")):
        assert (role, name) in names, names
