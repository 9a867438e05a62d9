"""Folders of pictures against a real gRPC server in this process: batches, order, resuming, kills, watching."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest
from PIL import Image

from tfleet import cli, wire
from tfleet.client import lines, many, sources
from tfleet.client.grpc_client import Client
from tfleet.client.served import Model
from tfleet.errors import TfleetError

SIDE = 4


class Brightness(object):
    """A model [N,4,4,1] -> scores of three classes by brightness; remembers the rows of each request."""

    def __init__(self, rows=-1):
        self.rows = rows
        self.batches = []
        self.failing = 0
        self.pause = 0.0
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()

    def predict(self, request, context):
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        time.sleep(self.pause)
        with self._lock:
            self._now -= 1
            if self.failing:
                self.failing -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        images = wire.tensors.to_numpy(request.inputs["images"])
        self.batches.append(len(images))
        mean = images.reshape(len(images), -1).mean(axis=1, keepdims=True)
        if (mean > 0.999).any():
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "too bright")
        answer = wire.PredictResponse()
        answer.model_spec.name = "m"
        answer.model_spec.version.value = 7
        scores = np.concatenate([mean, 1 - mean, 0 * mean], axis=1).astype(np.float32)
        answer.outputs["scores"].CopyFrom(wire.tensors.to_proto(scores))
        return answer

    def metadata(self, request, context):
        signatures = wire.SignatureDefMap()
        info = signatures.signature_def["serving_default"].inputs["images"]
        info.dtype = wire.DT.Value("DT_FLOAT")
        for size in (self.rows, SIDE, SIDE, 1):
            info.tensor_shape.dim.add(size=size)
        signatures.signature_def["serving_default"].outputs["scores"].dtype = wire.DT.Value("DT_FLOAT")
        answer = wire.GetModelMetadataResponse()
        answer.model_spec.name = "m"
        answer.metadata["signature_def"].Pack(signatures)
        return answer


@pytest.fixture
def brightness():
    return Brightness()


@pytest.fixture
def server(serve, brightness):
    return serve({wire.PREDICT: brightness.predict, wire.GET_MODEL_METADATA: brightness.metadata})


def grey(path, value, size=(6, 5)):
    Image.new("L", size, value).save(str(path))
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Fifty pictures, in folders, whose brightness is their number."""
    for number in range(50):
        (tmp_path / "in" / str(number // 25)).mkdir(parents=True, exist_ok=True)
        grey(tmp_path / "in" / str(number // 25) / ("%02d.png" % number), 2 * number)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / ".hidden.png").write_bytes(b"")
    return str(tmp_path / "in")


def predict(capfd, *arguments):
    code = cli.main(["predict", "--model", "m"] + [str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return code, out, err


def read(path):
    with open(str(path), encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def numbers(answers):
    """The brightness that each answer tells, as the number of its picture."""
    return [round(next(entry for entry in line["top"] if entry["class"] == 0)["score"] * 255 / 2) for line in answers]


def test_a_folder_is_answered_in_its_order_and_in_batches(server, brightness, folder, tmp_path, capfd):
    brightness.pause = 0.01
    out = tmp_path / "out.jsonl"
    code, stdout, err = predict(capfd, "--address", server.address, "--image", folder, "--output", out, "--batch-size", 8, "--in-flight", 2)
    assert code == 0 and stdout == "" and "m version 7: 50 pictures in" in err
    answers = read(out)
    assert numbers(answers) == list(range(50))
    assert [line["image"] for line in answers] == sources.pictures([folder]) and len(answers) == 50
    assert answers[3]["version"] == 7 and (answers[3]["width"], answers[3]["height"]) == (6, 5)
    assert sorted(brightness.batches) == [2] + [8] * 6 and brightness.most_at_once == 2


def test_the_same_command_goes_on_and_tries_failed_pictures_again(server, brightness, folder, tmp_path, capfd):
    out = tmp_path / "out.jsonl"
    broken = os.path.join(folder, "0", "10.png")
    with open(broken, "wb") as stream:
        stream.write(b"torn")
    command = ["--address", server.address, "--image", folder, "--output", out]
    code, _, err = predict(capfd, *command)
    assert code == 1 and "10.png is not a picture in a known format" in err and "49 pictures" in err and "tries them again" in err
    data = out.read_bytes()
    whole = data.split(b"\n")
    out.write_bytes(b"\n".join(whole[:30]) + b'\n{"image": "torn')
    grey(broken, 20)
    del brightness.batches[:]
    code, _, err = predict(capfd, *command)
    assert code == 0 and "21 pictures" in err and "29 before" in err and sum(brightness.batches) == 21
    answers = read(out)
    assert sorted(numbers(answers)) == list(range(50)) and not any("error" in line for line in answers)
    code, _, err = predict(capfd, *command)
    assert code == 0 and "0 pictures" in err and "50 before" in err and sum(brightness.batches) == 21


def test_a_killed_run_goes_on_where_it_was(server, brightness, folder, tmp_path, capfd):
    brightness.pause = 0.3
    out = tmp_path / "out.jsonl"
    command = ["--address", server.address, "--image", folder, "--output", str(out), "--batch-size", "2"]
    for _ in range(3):
        before = len(out.read_bytes().splitlines()) if out.exists() else 0
        process = subprocess.Popen([sys.executable, "-m", "tfleet", "predict", "--model", "m"] + command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while time.monotonic() < end and (not out.exists() or len(out.read_bytes().splitlines()) < before + 6):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = out.read_bytes().count(b"\n")
    assert 18 <= done < 50
    del brightness.batches[:]
    brightness.pause = 0
    code, _, err = predict(capfd, *command)
    assert code == 0 and "%d before" % done in err and sum(brightness.batches) <= 50 - done + 4  # those in flight when it was killed
    assert numbers(read(out)) == list(range(50))


def test_csv_is_resumed_from_its_last_whole_picture(server, folder, tmp_path, capfd):
    out = tmp_path / "out.csv"
    command = ["--address", server.address, "--image", os.path.join(folder, "**", "*.png"), "--output", out, "--top-k", 2]
    assert predict(capfd, *command)[0] == 0
    whole = out.read_bytes()
    assert len(whole.splitlines()) == 101 and whole.startswith(b"image,version,width,height,class,label,score,")
    for cut in (1, 60, 3000, len(whole) - 30, len(whole) - 1):
        out.write_bytes(whole[:cut] if cut > 100 else whole[: -cut])
        assert predict(capfd, *command)[0] == 0
        assert out.read_bytes() == whole


def test_a_fixed_batch_is_filled(serve, folder, tmp_path, capfd):
    model = Brightness(rows=4)
    server = serve({wire.PREDICT: model.predict, wire.GET_MODEL_METADATA: model.metadata})
    out = tmp_path / "out.jsonl"
    assert predict(capfd, "--address", server.address, "--image", folder, "--output", out)[0] == 0
    assert set(model.batches) == {4} and len(model.batches) == 13 and numbers(read(out)) == list(range(50))


def test_a_server_that_restarts_is_waited_for(server, brightness, folder, tmp_path, capfd):
    brightness.failing = 2
    code, _, err = predict(capfd, "--address", server.address, "--image", folder, "--output", tmp_path / "out.jsonl")
    assert code == 0 and "50 pictures" in err


def test_a_server_that_stays_away_leaves_a_file_to_go_on_with(server, brightness, folder, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(many, "_PATIENCE", 0.1)
    out = tmp_path / "out.jsonl"

    def stop_later():
        while len(brightness.batches) < 2:
            time.sleep(0.01)
        brightness.failing = 10**6

    brightness.pause = 0.02
    threading.Thread(target=stop_later, daemon=True).start()
    code, _, err = predict(capfd, "--address", server.address, "--image", folder, "--output", out, "--batch-size", 4)
    assert code == 1 and "restarting" in err and "of 50 pictures are in %s: the same command goes on" % out in err
    brightness.failing = 0
    assert predict(capfd, "--address", server.address, "--image", folder, "--output", out)[0] == 0
    assert numbers(read(out)) == list(range(50))


def test_one_picture_that_the_model_refuses_does_not_spoil_its_batch(server, brightness, folder, tmp_path, capfd):
    grey(os.path.join(folder, "0", "05.png"), 255)
    out = tmp_path / "out.jsonl"
    code, _, err = predict(capfd, "--address", server.address, "--image", folder, "--output", out)
    assert code == 1 and "too bright" in err and "49 pictures" in err
    assert [line["image"][-6:] for line in read(out) if "error" in line] == ["05.png"]


def test_annotated_pictures_are_there_before_their_lines(server, folder, tmp_path, capfd):
    grey(os.path.join(folder, "photo.jpg"), 100)
    drawn = tmp_path / "drawn"
    code, out, _ = predict(capfd, "--address", server.address, "--image", folder, "--annotate", drawn, "--format", "jsonl")
    assert code == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 51 and all(os.path.isfile(line["picture"]) for line in answers)
    assert sorted(os.listdir(str(drawn))) == ["0", "1", "photo.jpg"]
    with Image.open(str(drawn / "photo.jpg")) as photo, Image.open(str(drawn / "1" / "30.png")) as drawing:
        assert photo.format == "JPEG" and drawing.width >= 480


def test_a_table_for_people_and_one_object_for_programs(server, folder, capfd):
    pattern = os.path.join(folder, "0", "0[12].png")
    code, out, _ = predict(capfd, "--address", server.address, "--image", pattern, "--top-k", 1)
    rows = out.splitlines()
    assert code == 0 and rows[0].split() == ["image", "class", "score", "ymin", "xmin", "ymax", "xmax"]
    assert rows[1].split()[1:] == ["1", "0.992"] and rows[3].startswith("m version 7: 2 pictures")
    code, out, _ = predict(capfd, "--address", server.address, "--image", pattern, "--json")
    result = json.loads(out)
    assert code == 0 and result["ok"] and result["images"] == {"done": 2, "before": 0, "failed": 0} and len(result["predictions"]) == 2


def test_new_pictures_are_seen_when_they_are_finished(server, brightness, tmp_path):
    watched = tmp_path / "in"
    watched.mkdir()
    grey(watched / "a.png", 20)
    out = tmp_path / "out.jsonl"
    command = ["--address", server.address, "--image", str(watched), "--output", str(out), "--watch", "4"]
    process = subprocess.Popen([sys.executable, "-m", "tfleet", "predict", "--model", "m"] + command, stderr=subprocess.PIPE)
    try:
        wait_for(lambda: out.exists() and len(read(out)) == 1)
        grey(tmp_path / "b.png", 40)
        whole = (tmp_path / "b.png").read_bytes()
        with open(str(watched / "b.png"), "wb") as stream:  # a slow upload
            for place in range(0, len(whole), 20):
                stream.write(whole[place : place + 20])
                stream.flush()
                time.sleep(0.2)
        wait_for(lambda: len(read(out)) == 2)
        grey(watched / "a.png", 60)  # written anew
        wait_for(lambda: len(read(out)) == 3)
        assert process.wait(20) == 0
    finally:
        process.kill()
        _, err = process.communicate()
    assert [os.path.basename(line["image"]) for line in read(out)] == ["a.png", "b.png", "a.png"]
    assert numbers(read(out)) == [10, 20, 30] and b"3 pictures" in err


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_ctrl_c_ends_a_watch_with_its_summary(server, tmp_path):
    grey(tmp_path / "a.png", 20)
    command = ["--address", server.address, "--image", str(tmp_path), "--watch", "--format", "jsonl"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tfleet", "predict", "--model", "m"] + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell that runs the tests in the background lets them, and all that they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert json.loads(line.decode())["image"].endswith("a.png") and process.returncode == 0 and b"1 pictures" in err


def test_frames_of_a_video(server, tmp_path, capfd):
    for number in range(3):
        grey(tmp_path / ("f%d.png" % number), 100 * number, (32, 32))
    drawn = tmp_path / "drawn"
    code, out, err = predict(
        capfd, "--address", server.address, "--camera", tmp_path / "f%d.png", "--format", "jsonl", "--annotate", drawn, "--frames", 2
    )
    assert code == 0, err
    answers = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in answers] == ["frame-000001", "frame-000002"] and numbers(answers) == [0, 50]
    assert os.listdir(str(drawn)) and "2 pictures" in err
    code, _, err = predict(capfd, "--address", server.address, "--camera", tmp_path / "no.mp4")
    assert code == 1 and "OpenCV cannot open the camera or video" in err


def test_of_a_camera_the_newest_frame_is_asked(server, brightness, tmp_path, capfd):
    sent = []

    class Camera(BaseHTTPRequestHandler):
        """An IP camera: JPEG after JPEG, thirty a second, each a little brighter, for three seconds."""

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for number in range(90):
                buffer = io.BytesIO()
                Image.new("RGB", (64, 48), (2 * number,) * 3).save(buffer, "JPEG")
                self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(buffer.getvalue()))
                self.wfile.write(buffer.getvalue() + b"\r\n")
                sent.append(number)
                time.sleep(1 / 30)

        def log_message(self, *unused):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Camera) as camera:
        threading.Thread(target=camera.serve_forever, daemon=True).start()
        brightness.pause = 0.4
        url = "http://127.0.0.1:%d/video.mjpg" % camera.server_port
        code, out, err = predict(capfd, "--address", server.address, "--camera", url, "--format", "jsonl")
        camera.shutdown()
    assert code == 0, err
    seen = numbers(json.loads(line) for line in out.splitlines())
    assert len(sent) == 90 and 3 <= len(seen) <= 15 and seen == sorted(seen) and seen[-1] > 60


def test_a_camera_without_opencv(server, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    code, _, err = predict(capfd, "--address", server.address, "--camera", "0")
    assert code == 1 and "A camera needs OpenCV, which this environment lacks: pip install 'tfleet[camera]'" in err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--output", "out.txt"], "its name ends neither in .jsonl nor in .csv"),
        (["--annotate", "out.png"], "--annotate out.png names one file, but there may be many pictures: give a folder"),
        (["--format", "csv", "--json"], "--json prints one object: leave out --format csv"),
        (["--nms", "hard"], "--nms, --iou, --sigma and --class-agnostic are for raw boxes"),
        (["--letterbox", "--size", "9x9"], r"takes pictures of 4x4 pixels (height x width), but 9x9 is declared"),
        (["--output", "/no/such/out.jsonl"], "Could not open /no/such/out.jsonl: No such file or directory"),
    ],
)
def test_mistakes(server, folder, capfd, arguments, message):
    code, out, err = predict(capfd, "--address", server.address, "--image", folder, *arguments)
    assert code == 1 and message in out + err


def test_files_that_are_somebody_elses(server, folder, tmp_path, capfd):
    for name, content, message in (
        ("a.jsonl", "shopping list\n", "Line 1 of .*a.jsonl is not an answer of this command"),
        ("b.jsonl", '{"image": "x", "model": "other"}\n', "holds answers of model 'other', not 'm'"),
        ("c.csv", "name,price\nx,1\n", "c.csv is not a table of this command"),
    ):
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(TfleetError, match=message):
            lines.Lines(str(path), name.rpartition(".")[2], "m")
        assert path.read_text() == content
    with lines.Lines(str(tmp_path / "d.jsonl"), "jsonl", "m"), pytest.raises(TfleetError, match="Another run is writing"):
        lines.Lines(str(tmp_path / "d.jsonl"), "jsonl", "m")
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, err = predict(capfd, "--address", server.address, "--image", empty)
    assert code == 1 and "There are no pictures in %s" % empty in err


def test_pictures_of_another_form_begin_a_new_batch():
    def prepared(name, shape):
        return many.Prepared(name, None, {"x": np.zeros(shape, np.uint8)}, None)

    several = [prepared("a", (1, 2)), prepared("b", (1, 2)), many.Failed("c", "torn"), prepared("d", (1, 3)), many.FLUSH, prepared("e", (1, 3))]
    made = [batch if batch is many.FLUSH else [one.name for one in batch] for batch in many.batches(several, 2)]
    assert made == [["a", "b", "c"], ["d"], many.FLUSH, ["e"]]


def test_what_lies_ahead_is_bounded_and_an_error_ends_the_rest():
    begun = []

    def work(item):
        begun.append(item)
        if item == 5:
            raise TfleetError("five")
        return item

    with ThreadPoolExecutor(2) as pool:
        steps = many.ordered(pool, work, iter(range(100)), 3)
        assert next(steps) == 0 and max(begun) <= 4
        with pytest.raises(TfleetError, match="five"):
            list(steps)
    assert max(begun) < 12


def test_what_was_done_before_an_error_is_given_back_first():
    def failing():
        yield from range(5)
        raise TfleetError("the server went away")

    got = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(TfleetError, match="went away"):
        for item in many.ordered(pool, lambda item: item, failing(), 8):
            got.append(item)
    assert got == [0, 1, 2, 3, 4]


def test_the_library_looks_at_pictures_as_they_are(server, folder):
    with Client(server.address) as client:
        model = Model(client, "m", labels={0: "bright", 1: "dark"}, top=1)
        image = Image.new("L", (9, 9), 200)
        seen = list(model.look([("mine", image), os.path.join(folder, "0", "03.png"), "/no/such.png"]))
    assert seen[0].name == "mine" and seen[0].reading["label"] == "bright" and len(seen[0].reading["top"]) == 1
    assert seen[1].reading["label"] == "dark" and seen[1].version == 7 and seen[1].outputs["scores"].shape == (1, 3)
    assert isinstance(seen[2], many.Failed) and "No such file" in seen[2].error
