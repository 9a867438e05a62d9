"""The gateway in front of real model servers that are killed."""

import pathlib
import signal
import threading
import time

SCENE = (pathlib.Path(__file__).resolve().parents[2] / "models/digits_detector/scene.png").read_bytes()
PREDICT = "api/v1/models/digits:predict"


def test_no_answer_is_lost_when_one_of_two_servers_is_killed_and_a_page_tells_when_none_is_left(server, start_server, start_gateway, open_page):
    with start_server() as second:
        second.wait_state("digits", 2, "AVAILABLE", 60)
        gateway = start_gateway(server.address, second.address, deadline_seconds=6)
        answers, ends = [], threading.Event()

        def go_on():
            while not ends.is_set():
                answers.append(gateway.ask(PREDICT, SCENE))

        threads = [threading.Thread(target=go_on) for _ in range(3)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 20
        while len(answers) < 30 and time.monotonic() < until:
            time.sleep(0.02)
        before = len(answers)
        second.terminate(signal.SIGKILL)
        while len(answers) < before + 60 and time.monotonic() < until:
            time.sleep(0.02)
        ends.set()
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} == {200} and len(answers) >= before + 60
        assert {answer["top"][0]["class"] for _, answer in answers} == {1}

    alone = start_gateway(second.address)
    assert alone.ask("readyz") == (503, {"ok": False})
    status, answer = alone.ask(PREDICT, SCENE)
    assert (status, answer["code"]) == (503, "unavailable") and "No model server can be reached" in answer["error"]
    page = open_page(alone.url)
    assert "digits (not served now)" in page.value("[...document.querySelectorAll('optgroup')].map(group => group.label)")
