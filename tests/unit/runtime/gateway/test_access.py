"""Who is answered, and what other sites and the log never get."""

import logging
import pathlib
import re

import pytest

from tfleet.errors import TfleetError

from .parts import TOKEN, picture

PROXY = {"proxy_addresses": ["10.0.0.0/24"], "proxy_user_header": "X-User"}
FROM_PROXY = {"REMOTE_ADDR": "10.0.0.5"}


@pytest.mark.parametrize("header, status", [
    (None, 401), ("Bearer " + TOKEN, 200), ("bearer " + TOKEN, 200), ("Bearer " + TOKEN[:-1], 401), ("Bearer", 401), ("Basic " + TOKEN, 401),
    ("Bearer \xff", 401),
])  # fmt: skip
def test_a_token_opens(gateway, predict, header, status):
    answer = predict(gateway(token_file="token"), headers={"Authorization": header} if header else {})
    assert answer.status_code == status
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_a_token_that_is_replaced_counts_at_once(gateway, predict, tmp_path):
    client, new = gateway(token_file="token"), "f" * 40
    (tmp_path / "token").write_text("%s\n%s\n" % (TOKEN, new))
    assert [predict(client, headers={"Authorization": "Bearer " + token}).status_code for token in (TOKEN, new)] == [200, 200]
    (tmp_path / "token").write_text(new + "\n")
    assert [predict(client, headers={"Authorization": "Bearer " + token}).status_code for token in (TOKEN, new)] == [401, 200]


@pytest.mark.parametrize("content", [b"", b"short\n", b"%s\nshort\n" % (b"n" * 40), b"\xff" * 40], ids=["empty", "short", "one", "no-text"])
def test_a_file_that_cannot_be_used_leaves_the_tokens_from_before_and_is_told_once(gateway, predict, tmp_path, caplog, content):
    client = gateway(token_file="token")
    (tmp_path / "token").write_bytes(content)
    for _ in range(2):
        assert predict(client, headers={"Authorization": "Bearer " + TOKEN}).status_code == 200
        assert predict(client, headers={"Authorization": "Bearer " + "n" * 40}).status_code == 401
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert str(tmp_path / "token") in told and "n" * 40 not in told
    (tmp_path / "token").write_text("n" * 40 + "\n")
    assert predict(client, headers={"Authorization": "Bearer " + "n" * 40}).status_code == 200


@pytest.mark.parametrize("text", ["", "short\n"])
def test_a_token_that_could_be_guessed_is_refused_at_the_start(gateway, load, tmp_path, text):
    (tmp_path / "weak").write_text(text)
    with pytest.raises(TfleetError, match="at least 16 characters"):
        gateway(token_file=str(tmp_path / "weak"))


@pytest.mark.parametrize("address, headers, status", [
    ("10.0.0.5", {"X-User": "ann"}, 200), ("10.0.0.5", {}, 401), ("10.0.0.5", {"X-User": " "}, 401), ("10.0.1.5", {"X-User": "ann"}, 401),
    ("::ffff:10.0.0.5", {"X-User": "ann"}, 200),
])  # fmt: skip
def test_only_a_trusted_proxy_says_who_asks(gateway, predict, address, headers, status):
    answer = predict(gateway(**PROXY), headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status


def test_proxy_and_token_may_both_open(gateway, predict):
    client = gateway(token_file="token", **PROXY)
    assert predict(client, headers={"Authorization": "Bearer " + TOKEN}).status_code == 200
    assert predict(client, headers={"X-User": "ann"}, environ_overrides=FROM_PROXY).status_code == 200


@pytest.mark.parametrize("peer, forwarded, client", [
    ("192.0.2.9", "203.0.113.1", "192.0.2.9"),  # nobody trusts that peer
    ("10.0.0.5", "203.0.113.1", "203.0.113.1"), ("10.0.0.5", "1.2.3.4, 203.0.113.1", "203.0.113.1"),
    ("10.0.0.5", "203.0.113.1, 10.0.0.6", "203.0.113.1"), ("10.0.0.5", "", "10.0.0.5"), ("10.0.0.5", "<script>", "10.0.0.5"),
])  # fmt: skip
def test_the_address_of_a_client_is_what_trusted_proxies_say(gateway, peer, forwarded, client, caplog):
    caplog.set_level(logging.INFO, "tfleet.gateway")
    gateway(**PROXY).get("/api/v1/models", headers={"X-User": "ann", "X-Forwarded-For": forwarded}, environ_overrides={"REMOTE_ADDR": peer})
    assert caplog.messages[-1].split()[0] == client


HOSTS = [("localhost", 200), ("127.0.0.1:8502", 200), ("[::1]:8502", 200), ("rebound.example", 403), ("[", 403), ("[::1", 403)]


@pytest.mark.parametrize("host, status", HOSTS)
def test_a_name_that_was_pointed_to_this_machine_reads_nothing(gateway, host, status):
    assert gateway().get("/api/v1/models", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("headers, status", [
    ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Sec-Fetch-Site": "same-site"}, 403), ({"Sec-Fetch-Site": "same-origin"}, 200),
    ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://["}, 403), ({"Origin": "http://localhost"}, 200), ({}, 200),
])  # fmt: skip
def test_pages_of_other_sites_ask_nothing(gateway, predict, headers, status):
    assert predict(gateway(), headers=headers).status_code == status


def test_the_page_behind_the_guides_nginx_is_no_other_site(gateway, predict):
    guide = (pathlib.Path(__file__).parents[4] / "docs/gateway.md").read_text()
    (variable,) = re.findall(r"proxy_set_header Host (\$[a-z_]+);", guide)
    host = {"$host": "gateway.example", "$http_host": "gateway.example:8080"}[variable]
    headers = {"Host": host, "Origin": "http://gateway.example:8080", "Authorization": "Bearer " + TOKEN}
    assert predict(gateway(token_file="token"), headers=headers).status_code == 200


def test_no_header_allows_other_sites_to_read(gateway):
    answer = gateway().get("/")
    assert not [name for name in dict(answer.headers) if name.startswith("Access-Control")]
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_log_has_a_line_for_each_request_and_no_secret(gateway, caplog):
    caplog.set_level(logging.DEBUG)
    client = gateway(token_file="token")
    client.post("/api/v1/models/cats:predict?annotate=true&token=%s" % TOKEN, data=picture(), headers={"Authorization": "Bearer " + TOKEN})
    client.post("/api/v1/models/a%0ab%1b[31m:predict", data=picture(), headers={"Authorization": "Bearer wrong-" + TOKEN})
    lines = [record.getMessage() for record in caplog.records if record.name == "tfleet.gateway"]
    assert len(lines) == 2 and " token POST /api/v1/models/cats:predict 200 " in lines[0]
    assert "\n" not in lines[1] and "\x1b" not in lines[1] and " 401 " in lines[1]
    assert TOKEN not in caplog.text and "PNG" not in caplog.text


def test_a_user_cannot_write_lines_into_the_log(gateway, caplog):
    caplog.set_level(logging.INFO, "tfleet.gateway")
    gateway(**PROXY).get("/api/v1/models", headers={"X-User": "ann 200 1 ms"}, environ_overrides=FROM_PROXY)
    assert caplog.messages[-1].split()[1] == "ann%20200%201%20ms"
