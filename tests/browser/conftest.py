"""Fixtures for tests in a real browser: `open_page(url or pathlib.Path, width=…, dark=…)` is all that most of them need."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import chromium


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests."""
    with chromium.Chromium() as running:
        yield running


@pytest.fixture
def open_page(browser):
    """Opens a page: a URL or the pathlib.Path of a file. A test whose page has written an error into the console fails, unless it has cleared page.errors."""
    pages = []

    def opened(url, **options):
        page = browser.page(**options)
        pages.append(page)
        page.open(url)
        return page

    yield opened
    for page in pages:
        page.value("0")  # the last events come before this answer
        page.close()
    assert [page.errors for page in pages if page.errors] == []
