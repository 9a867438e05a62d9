"""A place in which the guides' commands work: a copy of the checkout, the files that they name, and a server of the models that they ask."""

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "conformance")]

import live_server  # noqa: E402
from pages import CHECKOUT  # noqa: E402
from PIL import Image  # noqa: E402

VOC = """<annotation><filename>{2}.jpg</filename><size><width>{0}</width><height>{1}</height></size><object><name>three</name>
<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>90</xmax><ymax>80</ymax></bndbox></object></annotation>"""
COCO = """{{"images": [{{"id": 1, "file_name": "coco.jpg", "width": {0}, "height": {1}}}], "categories": [{{"id": 4, "name": "three"}}],
"annotations": [{{"id": 1, "image_id": 1, "category_id": 4, "bbox": [10, 10, 80, 70], "area": 5600, "iscrowd": 0}}]}}"""


class Place:
    """Where commands run; what they name stands for something here."""

    def __init__(self, root):
        self.root = root
        # make would build an environment for the copy; so what it makes is in the checkout.
        self.stand_ins = [(r"^(\w+=)?/srv/", rf"\1{root}/srv/"), (r"^SAVED_MODEL$", f"{root}/srv/models/digits/2"), (r"^build/", f"{CHECKOUT}/build/")]
        self.more = {"make": ["-C", str(CHECKOUT)]}

    def run(self, words):
        """Run a command; it must succeed. Returns what it printed."""
        for pattern, value in self.stand_ins:
            words = [re.sub(pattern, value, word) for word in words]
        words = [part for word in words for part in (sorted(glob.glob(str(self.root / word))) if "*" in word and not word.startswith("{") else []) or [word]]
        words += self.more.get(words[0], [])
        environment = {**os.environ, "NO_COLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "TF_CPP_MIN_LOG_LEVEL": "2", "ANSIBLE_CONFIG": str(self.root / "ansible.cfg"),
                       "ANSIBLE_HOME": str(self.root / ".ansible"), "PYTHONPATH": str(self.root / "runtime/src")}  # fmt: skip
        done = subprocess.run(words, cwd=self.root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A copy of the files of the checkout, a repository of its own."""
    root = tmp_path_factory.mktemp("guides") / "tfleet"
    known = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE)
    for name in known.stdout.decode().split("\0"):
        if name and (CHECKOUT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, root / name, follow_symlinks=False)
    subprocess.run(["git", "init", "--quiet", root], check=True)
    return root


@pytest.fixture(scope="session")
def place(checkout):
    """The copy, with models and pictures where the guides have them."""
    with Image.open(CHECKOUT / "models/digits_detector/scene.png") as scene:
        picture = scene.convert("RGB")
    folders = ("srv/models/digits", "path/to", "VOC2012/Annotations", "VOC2012/JPEGImages", "annotations", "pictures/three", "pictures/four", "tmp")
    for folder in folders:
        (checkout / folder).mkdir(parents=True)
    graph = CHECKOUT / "models/digits_detector/1/frozen_graph.pb"
    for name in ("path/to/frozen_inference_graph.pb", "frozen_inference_graph.pb", "srv/models/frozen_inference_graph.pb"):
        shutil.copy(graph, checkout / name)
    for name in ("YOUR.jpg", "street.jpg", "yard.jpg", "srv/models/belt.jpg", "annotations/coco.jpg", "pictures/three/c.jpg", "pictures/four/d.jpg"):
        picture.save(checkout / name)
    for number, name in enumerate("abcd"):
        # The same picture twice would be found.
        picture.rotate(90 * number).resize(picture.size).save(checkout / f"VOC2012/JPEGImages/{name}.jpg")
        (checkout / f"VOC2012/Annotations/{name}.xml").write_text(VOC.format(*picture.size, name))
    (checkout / "annotations/val.json").write_text(COCO.format(*picture.size))
    (checkout / "labels.json").write_text('{"1": "three"}')
    shutil.copy(CHECKOUT / "models/digits/1/golden.npz", checkout / "golden.npz")
    return Place(checkout)


@pytest.fixture(scope="session")
def served(place):
    """The demo's models behind a server, under the names that the guides use."""
    config = "model_config_list {"
    for name, model in (("digits", "digits"), ("digits_detector", "digits_detector"), ("detector", "digits_detector")):
        versions = (1, 2, 4) if model == "digits" else (3, 4) if name == "detector" else (1,)
        config += f'config {{ name: "{name}" base_path: "{place.root}/srv/models/{name}" model_platform: "tensorflow" model_version_policy {{ all {{}} }} }}'
        outputs = ("scores", "classes") if model == "digits" else ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
        ends = ["--input", "images=images:0"] if model == "digits" else ["--input", "image_tensor=image_tensor:0"]
        ends += [word for output in outputs for word in ("--output", f"{output}={output}:0")]
        (place.root / "srv/models" / name).mkdir(exist_ok=True)
        place.run(["tfleet", "export", f"models/{model}/1/frozen_graph.pb", f"srv/models/{name}/{versions[0]}", *ends])
        for version in versions[1:]:
            shutil.copytree(place.root / f"srv/models/{name}/{versions[0]}", place.root / f"srv/models/{name}/{version}")
    (place.root / "model.config").write_text(config + "}")
    (place.root / "srv/work").mkdir()
    for name in ("native", "tflite-int8"):
        (place.root / "srv/work" / name).symlink_to(place.root / "srv/models/digits/2")
    place.run(["tfleet", "tfrecord", "write", "golden.npz", "held-out.tfrecord"])
    place.run(["tfleet", "tfrecord", "write", "annotations/val.json", "street.tfrecord"])
    with live_server.LiveServer(f"--model_config_file={place.root}/model.config") as server:
        server.wait_state("detector", 4, "AVAILABLE", 60)
        server.wait_state("digits", 4, "AVAILABLE", 60)
        place.stand_ins += [(r"grpc://[a-z0-9.]+:8500", f"grpc://{server.address}"), (r"^127\.0\.0\.1:8500$", server.address)]
        yield server
