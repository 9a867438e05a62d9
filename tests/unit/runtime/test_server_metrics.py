"""The Prometheus page."""

from tfleet.server.metrics import Metrics


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
