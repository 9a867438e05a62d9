"""Asks a server for so many seconds: `python -m tests.bench.server.load JSON`, the JSON being the arguments of run().

Prints {"seconds", "sent": [time.time() of each request], "took": [seconds]}; a failed request ends it with an error.
"""

import http.client
import json
import sys
import threading
import time


def run(address, request, seconds, clients=1, path=None, pause=0.0):
    """Lists of start times and durations of all requests that began within `seconds`.

    request: a file with the bytes to send; path: an HTTP path, else it is a gRPC Predict; clients: threads, each with a
    connection of its own and one request at a time; pause: each client waits this long between two requests.
    """
    with open(request, "rb") as stream:
        body = stream.read()
    calls = [_rest(address, path, body) if path else _grpc(address, body) for _ in range(clients)]
    for call in calls:
        call()
    results = [([], []) for _ in calls]
    failures = []
    gate = threading.Barrier(clients + 1)

    def work(call, sent, took):
        gate.wait()
        try:
            while True:
                begin = time.time()
                if begin > end[0]:
                    return
                call()
                took.append(time.time() - begin)
                sent.append(begin)
                if pause:
                    time.sleep(pause)
        except Exception as error:  # noqa: BLE001 (told by the main thread)
            failures.append(error)

    end = [0.0]
    threads = [threading.Thread(target=work, args=(call,) + result) for call, result in zip(calls, results)]
    for thread in threads:
        thread.start()
    begin = time.time()
    end[0] = begin + seconds
    gate.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    sent, took = ([value for result in results for value in result[place]] for place in (0, 1))
    return {"seconds": time.time() - begin, "sent": sent, "took": took}


def _grpc(address, body):
    import grpc

    # A pool of its own: channels with the same arguments would share one connection.
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(address, options=options)
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    return lambda: call(body, 120, wait_for_ready=True)


def _rest(address, path, body):
    connection = http.client.HTTPConnection(address, timeout=120)

    def call():
        connection.request("POST", path, body)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError("%s answers %d: %s" % (path, answer.status, text[:500]))
        return text

    return call


if __name__ == "__main__":
    print(json.dumps(run(**json.loads(sys.argv[1]))))
