"""The data files hold what the code reads from them, point at nothing that is not there, and a mistake in one is told by its file and place."""

import pathlib
import re

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import DataError, number, within

GOOD = {"number": 3, "names": ["a"], "map": {"x": "H"}}
SHAPE = {"number": (int,), "names": [hardware_data.TEXT], "map": {str: ("H", "L")}, "more?": hardware_data.MAYBE}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(hardware_data, "DIRECTORY", str(tmp_path))
    return tmp_path / "example.yml"


@pytest.mark.parametrize("name", sorted(hardware_data.SHAPES))
def test_each_data_file_is_what_the_code_expects(name):
    assert hardware_data.load(name)


@pytest.mark.parametrize("path", sorted(pathlib.Path(hardware_data.DIRECTORY).iterdir()), ids=lambda path: path.name)
def test_each_data_file_names_its_source(path):
    assert re.search(r"^# Source: facts/[a-z-]+\.md, section", path.read_text(encoding="utf-8"), re.MULTILINE)


def test_what_fits_is_returned(file):
    file.write_text(yaml.safe_dump(GOOD))
    assert hardware_data.load("example", SHAPE) == GOOD


@pytest.mark.parametrize(
    "change, says",
    [
        ({"number": "3"}, "number is '3', but must be a whole number"),
        ({"number": True}, "number is True, but must be a whole number"),
        ({"names": "a"}, "names is 'a', but must be a list"),
        ({"names": ["a", 1.5]}, "names[1] is 1.5, but must be a text in quotes"),
        ({"map": {"x": "sure"}}, "map.x is 'sure', but must be one of H, L"),
        ({"map": {36.4: "H"}}, "map is 36.4, but must be a key in quotes"),
        ({"more": 1}, "more is 1, but must be a text in quotes or null"),
        ({"mroe": None}, "the file has the unknown key mroe. Its keys are map, more, names, number"),
    ],
)
def test_a_mistake_is_told_by_file_and_place(file, change, says):
    file.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(DataError) as error:
        hardware_data.load("example", SHAPE)
    assert str(error.value).startswith(f"{file}: {says}")


@pytest.mark.parametrize("text, says", [("a: [", "is not YAML"), ("", "must be a dictionary"), ("{}", "has no key map and has no key names")])
def test_a_file_that_is_no_data_file(file, text, says):
    file.write_text(text)
    with pytest.raises(DataError) as error:
        hardware_data.load("example", SHAPE)
    assert str(file) in str(error.value)
    assert says in str(error.value)


def test_a_missing_file_names_itself(file):
    with pytest.raises(DataError, match=re.escape(str(file)) + " cannot be read: No such file"):
        hardware_data.load("example", SHAPE)


def test_an_edited_file_is_read_again(file):
    file.write_text(yaml.safe_dump(GOOD))
    hardware_data.load("example", SHAPE)
    file.write_text(yaml.safe_dump({**GOOD, "number": 40}))
    assert hardware_data.load("example", SHAPE)["number"] == 40


@pytest.mark.parametrize(
    "version, first, last, inside",
    [
        ("32.7.4", "32.7", "32", True),
        ("32.6.1", "32.7", "32", False),
        ("36.4.0", "36", "36.3", False),
        ("36.3.0", "36", "36.3", True),
        ("39.2.1", "38", "39", True),
        ("32.5.2", "32.5.0", "32.5.2", True),
        ("2.10.1", "2.8", "2.17", True),
        ("2.18.0", "2.8", "2.17", False),
    ],
)
def test_within(version, first, last, inside):
    assert within(version, first, last) is inside


def test_number():
    assert [number(text) for text in ("36.4.7", "8.2.1-1+cuda10.2", "", "none")] == [(36, 4, 7), (8, 2, 1), (), ()]


def test_every_release_has_a_generation_and_every_generation_releases():
    data = hardware_data.load("l4t")
    assert {release.split(".")[0] for release in data["releases"]} == set(data["generations"])
    for release in data["releases"]:
        assert hardware_data.l4t_release(release)["generation"]["jetpack"] == data["releases"][release]["jetpack"].split(".")[0]


@pytest.mark.parametrize("version, nearest", [("36.4.9", "36.4.7"), ("32.4.1", "32.4.2"), ("99.1.0", None)])
def test_an_unknown_release_names_the_file_the_nearest_and_the_variable(version, nearest):
    with pytest.raises(DataError) as error:
        hardware_data.l4t_release(version)
    message = str(error.value)
    assert "data/l4t.yml" in message
    assert "preflight_l4t_override" in message
    assert (f"the nearest is {nearest}" in message) is (nearest is not None)


def test_modules_and_generations_name_socs_that_there_are():
    jetsons, l4t = hardware_data.load("jetsons"), hardware_data.load("l4t")
    socs, modules = jetsons["socs"], jetsons["modules"]
    assert {module["soc"] for module in modules.values()} == set(socs)
    for major, generation in l4t["generations"].items():
        assert {module["soc"] for module in modules.values() if major in module["l4t"]} == set(generation["socs"])


def test_no_part_and_no_element_belongs_to_two_modules():
    names = [name for module in hardware_data.load("jetsons")["modules"].values() for name in [*module["parts"], *module["elements"]]]
    assert len(names) == len(set(names))


def test_images_that_are_chosen_are_described():
    data = hardware_data.load("containers")
    chosen = [row[key] for row in data["selection"] for key in ("tf1", "tf2") if key in row]
    chosen += [data["servers"]["gpu_server"], data["servers"]["cpu_server"]]
    for repository, tag in chosen:
        assert tag in data["images"][repository], tag
    assert set(data["images"]) == set(data["repositories"])
    for row in data["selection"]:
        assert set(row["confidence"]) == {key for key in ("tf1", "tf2") if key in row}


def test_every_release_before_jetpack_7_has_exactly_one_selection_and_every_release_one_group():
    data = hardware_data.load("containers")
    for release in hardware_data.load("l4t")["releases"]:
        rows = [row for row in data["selection"] if within(release, row["first"], row["last"])]
        assert len(rows) == (1 if number(release) < (38,) else 0), release
        assert len([group for group in data["groups"] if within(release, group["first"], group["last"])]) == 1, release


def test_converters_cover_every_tensorflow_from_the_first_to_the_last_with_tf_trt():
    data = hardware_data.load("tftrt")
    releases = ["1.15", *(f"2.{minor}" for minor in range(18))]
    for release in releases:
        assert len([row for row in data["constructors"] if within(release, row["first"], row["last"])]) == 1, release
    assert (releases[0], releases[-1]) == (data["first"], data["last"])
