"""The Prometheus page."""

from tfleet.server.metrics import Counter, Metrics


def test_a_page_without_values_is_empty():
    assert Metrics().text() == ""


def test_counters_and_histograms():
    metrics = Metrics()
    metrics.request_count.add("half", "OK")
    metrics.request_count.add("half", "OK", amount=4)
    metrics.request_count.add('q"\\\n', "NOT_FOUND")
    metrics.request_latency.observe(9, "half", "Predict", "GRPC")
    metrics.request_latency.observe(10, "half", "Predict", "GRPC")
    metrics.request_latency.observe(1e12, "half", "Predict", "GRPC")
    lines = metrics.text().splitlines()
    assert lines[:3] == [
        "# TYPE :tensorflow:serving:request_count counter",
        ':tensorflow:serving:request_count{model_name="half",status="OK"} 5',
        ':tensorflow:serving:request_count{model_name="q\\"\\\\\\n",status="NOT_FOUND"} 1',
    ]
    cell = 'model_name="half",API="Predict",entrypoint="GRPC"'
    assert lines[3] == "# TYPE :tensorflow:serving:request_latency histogram"
    assert ':tensorflow:serving:request_latency_bucket{%s,le="10"} 1' % cell in lines
    assert ':tensorflow:serving:request_latency_bucket{%s,le="18"} 2' % cell in lines
    assert ':tensorflow:serving:request_latency_bucket{%s,le="+Inf"} 3' % cell in lines
    assert ":tensorflow:serving:request_latency_sum{%s} 1000000000019" % cell in lines
    assert lines[-1] == ":tensorflow:serving:request_latency_count{%s} 3" % cell
    assert metrics.counter_value("/tensorflow/serving/request_count") == 5


def test_names_that_clients_make_up_do_not_fill_the_memory():
    counter = Counter("/requests", ("model_name", "status"))
    counter.add("n" * 1000, "NOT_FOUND")
    for number in range(3000):
        counter.add("m%d" % number, "NOT_FOUND")
    counter.add("late", "OK")
    counter.add("m7", "NOT_FOUND")
    lines = counter.lines()
    assert len(lines) < 1010
    assert ':requests{model_name="late",status="OK"} 1' in lines
    assert ':requests{model_name="m7",status="NOT_FOUND"} 2' in lines
    assert ':requests{model_name="(others)",status="NOT_FOUND"} 2002' in lines
