"""The settings' file: what is refused, and how it is said."""

import json
import pathlib
import re

import pytest

from tfleet.errors import TfleetError
from tfleet.gateway import settings


def test_paths_are_relative_to_the_file_and_defaults_are_safe(load, tmp_path):
    loaded = load(token_file="token")
    assert loaded.listen == ("127.0.0.1", 8502) and loaded.models[0].label_map == str(tmp_path / "labels.json")
    assert loaded.token_file == str(tmp_path / "token") and loaded.rate > 0 and loaded.at_once > 0


@pytest.mark.parametrize("values, sentence", [
    ({"servers": []}, "servers is \\[\\], not a list of addresses"),
    ({"servers": ["http://x:8500/"]}, "not a list of addresses|an address"),
    ({"servers": ["a:1", "a:1"]}, "each address stands once"),
    ({"models": []}, "models is missing or empty"),
    ({"models": [{"labels": ["a"]}]}, "a model has no name"),
    ({"models": [{"name": "a"}, {"name": "a"}]}, "named twice"),
    ({"models": [{"name": "a", "label": "b"}]}, "did you mean 'labels'"),
    ({"models": [{"name": "a", "label_map": "missing.json"}]}, "Could not read the label map .*missing.json"),
    ({"models": [{"name": "a", "declaration": "missing.json"}]}, "missing.json"),
    ({"listen": "8502"}, "not an address such as"),
    ({"pixel": 5}, "did you mean 'pixels'"),
    ({"rate": -1}, "rate is -1, not a number from 0"),
    ({"at_once": 1.5}, "not a whole number"),
    ({"workers": True}, "not a whole number"),
    ({"proxy_user_header": "X-User"}, "proxy_user_header needs proxy_addresses"),
    ({"proxy_addresses": ["example"]}, "addresses or networks"),
])  # fmt: skip
def test_a_mistake_is_named(load, values, sentence):
    with pytest.raises(TfleetError) as error:
        load(**values)
    assert re.search(sentence, str(error.value)), error.value


def test_what_is_begun_can_end_before_a_unit_or_container_that_stops_is_killed(load):
    role = pathlib.Path(__file__).parents[4] / "roles/web_gateway"
    # The container and the process by the start that replaces them, and by a stop.
    places = ("templates/tfleet-gateway.service.j2", "TimeoutStopSec="), ("tasks/container.yml", "stop_timeout: "), ("tasks/embedded.yml", "stop_timeout: ")
    places += ("tasks/stop.yml", "stop_timeout: "), ("tasks/stop.yml", '--time, "')
    stops = [int(re.search(before + "([0-9]+)", (role / name).read_text()).group(1)) for name, before in places]
    assert load(deadline_seconds=min(stops) - 10).deadline_seconds == 50
    with pytest.raises(TfleetError, match=r"deadline_seconds is 51, not a number from 0\.1 to 50"):
        load(deadline_seconds=51)


def test_the_label_map_that_a_declaration_names_is_read_too(load, tmp_path):
    (tmp_path / "how.json").write_text(json.dumps({"labels": "names.txt"}))
    with pytest.raises(TfleetError, match=r"Could not read the label map .*names\.txt"):
        load(models=[{"name": "a", "declaration": "how.json"}])
    (tmp_path / "names.txt").write_text("bolt\n")
    assert load(models=[{"name": "a", "declaration": "how.json"}]).models[0].declaration == str(tmp_path / "how.json")


@pytest.mark.parametrize("address", ["0.0.0.0:8502", "[::]:8502", "192.0.2.1:8502", "example.net:8502"])
def test_without_authentication_nobody_but_this_machine_is_answered(load, address):
    with pytest.raises(TfleetError, match=r"would answer everybody who reaches .* Set token_file, or proxy_addresses"):
        load(listen=address)
    # The addresses of a proxy alone say nothing of who asks.
    with pytest.raises(TfleetError, match="would answer everybody"):
        load(listen=address, proxy_addresses=["10.0.0.1"])
    assert load(listen=address, token_file="token").listen[1] == 8502
    assert load(listen=address, proxy_addresses=["10.0.0.1"], proxy_user_header="X-User")


@pytest.mark.parametrize("address", ["127.0.0.1:80", "127.8.0.1:80", "[::1]:80", "localhost:80"])
def test_this_machine_alone_needs_none(load, address):
    assert load(listen=address)


def test_a_file_that_is_no_json_is_named(tmp_path):
    (tmp_path / "g.json").write_text("{")
    with pytest.raises(TfleetError, match=r"g\.json"):
        settings.load(str(tmp_path / "g.json"))
    (tmp_path / "g.json").write_text(json.dumps([]))
    with pytest.raises(TfleetError, match="not a JSON object"):
        settings.load(str(tmp_path / "g.json"))
