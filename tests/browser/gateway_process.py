"""`tfleet gateway` in a process of its own, with the demo models."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import live_server


class Gateway:
    """Runs until end(). `url` is its page."""

    def __init__(self, place, checkout, addresses, settings):
        (port,) = live_server.free_ports(1)
        self.url = "http://127.0.0.1:%d/" % port
        labels = str(checkout / "models/digits_detector/label_map.json")
        models = [{"name": "digits_detector", "labels": ["stable"], "label_map": labels}, {"name": "digits", "labels": ["stable"]}]
        path = place / "gateway.json"
        path.write_text(json.dumps({"listen": "127.0.0.1:%d" % port, "servers": addresses, "models": models, "rate": 0, **settings}))
        self.log = place / "log"
        environment = {**os.environ, "PYTHONPATH": str(checkout / "runtime/src")}
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "tfleet", "gateway", "--config", str(path)], env=environment, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > until:
                self.end()
                raise AssertionError("the gateway does not answer:\n" + self.log.read_text())
            time.sleep(0.05)

    def ask(self, path, content=None):
        """(status, JSON) of a GET, or of a POST if there is content."""
        request = urllib.request.Request(self.url + path, content, {"Content-Type": "image/png"} if content else {})
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def end(self):
        """Ends the process."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listens(self):
        try:
            return self.ask("healthz")[0] == 200
        except OSError:
            return False
