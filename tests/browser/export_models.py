"""Exports the demo models into a directory, all in one process: python export_models.py CHECKOUT DIRECTORY."""

import json
import pathlib
import sys

import yaml

from tfleet.convert import signatures
from tfleet.convert.export import export

checkout, place = map(pathlib.Path, sys.argv[1:])
for model in yaml.safe_load((checkout / "inventories/local/group_vars/all.yml").read_text())["tfleet_models"]:
    for release in model["releases"]:
        declared = signatures.from_text(json.dumps(release["signatures"]), "the inventory")
        export(str(checkout / release["source"]), str(place / model["name"] / str(release["version"])), "auto", None, declared, ["serve"], False)
