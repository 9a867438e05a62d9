"""The processes of the server benchmark: the server under test, the echo server, the in-process worker, the load generator.

All listen on 127.0.0.1 only; the servers end with their context, the load generator after its seconds.
"""

import json
import os
import subprocess
import sys
import time

import grpc

from tests.bench import harness
from tests.conformance.live_server import free_ports
from tfleet import wire

TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A process that others measure. A context manager; ends with SIGKILL at the latest."""

    def __init__(self, command, **pipes):
        env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2")
        self.process = subprocess.Popen(command, cwd=harness.ROOT, env=env, **pipes)

    def cpu(self):
        """CPU seconds used so far, by all threads."""
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as stream:
            fields = stream.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self):
        """Resident memory now, in MB."""
        with open("/proc/%d/statm" % self.process.pid, encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Server(Process):
    """`tfleet serve` with a model.config of {name: base path} and further flags."""

    def __init__(self, directory, models, *flags):
        os.makedirs(directory)
        self.config = os.path.join(directory, "model.config")
        with open(self.config, "w", encoding="utf-8") as stream:
            stream.write(str(config(models)))
        self.log = os.path.join(directory, "log")
        port, rest_port = free_ports(2)
        self.address, self.rest_address = "127.0.0.1:%d" % port, "127.0.0.1:%d" % rest_port
        command = [sys.executable, "-m", "tfleet", "serve", "--port=%d" % port, "--rest_api_port=%d" % rest_port]
        command += ["--tfleet_bind_address=127.0.0.1", "--model_config_file=" + self.config]
        with open(self.log, "wb") as log:
            super().__init__(command + list(flags), stdout=log, stderr=log)

    def lines(self):
        with open(self.log, encoding="utf-8") as stream:
            return stream.read().splitlines()

    def wait(self, text="Exporting HTTP/REST API", seconds=120):
        """Waits until the log has a line with that text. Raises RuntimeError if it does not come."""
        end = time.time() + seconds
        while not any(text in line for line in self.lines()):
            if time.time() > end or self.process.poll() is not None:
                raise RuntimeError("%r is not in the server's log:\n%s" % (text, "\n".join(self.lines()[-30:])))
            time.sleep(0.05)

    def ask(self, method, request):
        """One call from this process."""
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.address, options=options) as channel:
            serialize = None if isinstance(request, bytes) else wire.METHODS[method][0].SerializeToString
            return channel.unary_unary(method, serialize, wire.METHODS[method][1].FromString)(request, 120)

    def __enter__(self):
        self.wait()
        return self


class Echo(Process):
    """The echo server, with as many workers as the server under test has by default."""

    def __init__(self, workers):
        (port,) = free_ports(1)
        self.address = "127.0.0.1:%d" % port
        super().__init__([sys.executable, "-m", "tests.bench.server.echo", str(port), str(workers)], stdin=subprocess.PIPE)

    def answer_with(self, response):
        """The bytes that every call is answered with from now on."""
        with grpc.insecure_channel(self.address, options=[("grpc.max_send_message_length", -1)]) as channel:
            channel.unary_unary("/set")(response, 30, wait_for_ready=True)


class Worker(Process):
    """The in-process work, with so many TensorFlow threads (0: TensorFlow's choice)."""

    def __init__(self, threads):
        command = [sys.executable, "-m", "tests.bench.server.inprocess", str(threads)]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the in-process worker has ended")
        return json.loads(line)


def config(models):
    """A ModelServerConfig of {name: base path}."""
    answer = wire.ModelServerConfig()
    answer.model_config_list.SetInParent()
    for name, path in models.items():
        answer.model_config_list.config.add(name=name, base_path=path, model_platform="tensorflow")
    return answer


def load(server, request, seconds, **arguments):
    """Runs the load generator against a server: {"rate", "took", "sent", "cpu": the server's CPU seconds for a request}."""
    address = server.rest_address if arguments.get("path") else server.address
    command = json.dumps(dict(arguments, address=address, request=request, seconds=seconds))
    cpu = server.cpu()
    *_, out = harness.run_process([sys.executable, "-m", "tests.bench.server.load", command])
    result = json.loads(out)
    count = len(result["took"])
    # Each client asked once more, before the time began.
    return dict(result, rate=count / result["seconds"], cpu=(server.cpu() - cpu) / (count + arguments.get("clients", 1)))
