"""A gRPC server that does nothing: `python -m tests.bench.server.echo PORT WORKERS`. The floor under every Python gRPC server.

It answers each call with the bytes that the latest call to /set brought, so that its answers are as long as the real
server's, and ends when its standard input does.
"""

import sys
from concurrent import futures

import grpc


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.response = b""
        self._set = grpc.unary_unary_rpc_method_handler(self.set)
        self._answer = grpc.unary_unary_rpc_method_handler(lambda request, context: self.response)

    def service(self, details):
        return self._set if details.method == "/set" else self._answer

    def set(self, request, _context):
        self.response = request
        return b""


def main(port, workers):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(workers), handlers=(Echo(),), options=options)
    server.add_insecure_port("127.0.0.1:%d" % port)
    server.start()
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
