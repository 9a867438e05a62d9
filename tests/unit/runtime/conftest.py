"""A real gRPC server in this process, which answers with real messages what a test tells it to."""

from concurrent import futures

import grpc
import pytest

from tfleet import wire


class Server(object):
    """`answers` maps an RPC path to a function (request, context) -> response; `seen` lists the requests."""

    def __init__(self, answers, socket=None, options=()):
        self.answers = answers
        self.seen = []
        options = list(options) or [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=2), options=options)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = "127.0.0.1:%d" % self.port
        if socket:
            self._server.add_insecure_port(socket)
        self._server.start()

    def service(self, details):
        """grpc asks for the handler of a path."""
        if details.method not in self.answers:
            return None
        request_class, response_class = wire.METHODS[details.method]
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(details.method, request, context),
            request_deserializer=request_class.FromString,
            response_serializer=response_class.SerializeToString,
        )

    def _answer(self, path, request, context):
        self.seen.append(request)
        return self.answers[path](request, context)

    def stop(self):
        self._server.stop(0).wait()


@pytest.fixture
def serve():
    """serve({path: function}) -> Server, stopped after the test; `socket` is one more address, `options` are grpc's."""
    servers = []

    def start(answers, socket=None, options=()):
        servers.append(Server(answers, socket, options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
