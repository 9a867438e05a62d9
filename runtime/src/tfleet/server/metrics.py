"""Counters and histograms of the serving work, and their Prometheus text.

Names, labels and buckets are TensorFlow Serving's: `/tensorflow/serving/request_count` is exported as
`:tensorflow:serving:request_count`; latencies are microseconds in buckets 10 * 1.8^i, i = 0..32, then +Inf.
"""
import bisect
import threading
from typing import Any, Dict, List, Tuple

LATENCY_BUCKETS = tuple(10 * 1.8 ** i for i in range(33))
SIZE_BUCKETS = tuple(float(2 ** i) for i in range(15))

# Clients choose the model name of a failed request: so many of them, of such a length, get a line of their own.
_MAX_NAMES = 1000
_MAX_NAME_LENGTH = 256
_OTHERS = "(others)"

_Labels = Tuple[str, ...]


class Counter:
    """A number for each combination of label values."""

    kind = "counter"

    def __init__(self, name: str, labels: _Labels) -> None:
        self.name = name
        self.labels = labels
        self._lock = threading.Lock()
        self._values: Dict[_Labels, int] = {}

    def add(self, *values: str, amount: int = 1) -> None:
        with self._lock:
            if values not in self._values and values[1:] not in ((), ("OK",)) \
                    and (len(self._values) >= _MAX_NAMES or len(values[0]) > _MAX_NAME_LENGTH):
                values = (_OTHERS,) + values[1:]
            self._values[values] = self._values.get(values, 0) + amount

    def first(self) -> int:
        """The value of the first cell, 0 if there is none (what a reload's metric_names asks for)."""
        with self._lock:
            return self._values[min(self._values)] if self._values else 0

    def lines(self) -> List[str]:
        with self._lock:
            return ["%s{%s} %d" % (exported(self.name), _pairs(self.labels, key), value)
                    for key, value in sorted(self._values.items())]


class Histogram:
    """A distribution for each combination of label values."""

    kind = "histogram"

    def __init__(self, name: str, labels: _Labels, buckets: Tuple[float, ...] = LATENCY_BUCKETS) -> None:
        self.name = name
        self.labels = labels
        self._buckets = buckets
        self._lock = threading.Lock()
        self._cells: Dict[_Labels, Tuple[List[int], List[float]]] = {}

    def observe(self, value: float, *values: str) -> None:
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._cells[values] = ([0] * (len(self._buckets) + 1), [0.0])
            cell[0][bisect.bisect_right(self._buckets, value)] += 1
            cell[1][0] += value

    def lines(self) -> List[str]:
        name = exported(self.name)
        answer = []
        with self._lock:
            cells = {key: (list(counts), total[0]) for key, (counts, total) in self._cells.items()}
        for key, (counts, total) in sorted(cells.items()):
            pairs = _pairs(self.labels, key)
            running = 0
            for limit, count in zip(["%g" % b for b in self._buckets] + ["+Inf"], counts):
                running += count
                answer.append("%s_bucket{%s%sle=\"%s\"} %d" % (name, pairs, "," if pairs else "", limit, running))
            answer.append("%s_sum{%s} %.15g" % (name, pairs, total))
            answer.append("%s_count{%s} %d" % (name, pairs, running))
        return answer


class TextGauge:
    """A text for each combination of label values. Prometheus has numbers only, so the text is one more label of a 1."""

    kind = "gauge"

    def __init__(self, name: str, labels: _Labels, text_label: str) -> None:
        self.name = name
        self.labels = labels + (text_label,)
        self._lock = threading.Lock()
        self._texts: Dict[_Labels, str] = {}

    def set(self, text: str, *values: str) -> None:
        with self._lock:
            self._texts[values] = text

    def lines(self) -> List[str]:
        with self._lock:
            return ["%s{%s} 1" % (exported(self.name), _pairs(self.labels, key + (text,))) for key, text in sorted(self._texts.items())]


def exported(name: str) -> str:
    """Prometheus takes no slash: it becomes a colon."""
    return name.replace("/", ":")


def _pairs(labels: _Labels, values: _Labels) -> str:
    return ",".join('%s="%s"' % (label, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
                    for label, value in zip(labels, values))


class Metrics:
    """The metrics of one server."""

    def __init__(self) -> None:
        self.request_count = Counter("/tensorflow/serving/request_count", ("model_name", "status"))
        self.request_latency = Histogram("/tensorflow/serving/request_latency", ("model_name", "API", "entrypoint"))
        self.runtime_latency = Histogram("/tensorflow/serving/runtime_latency", ("model_name", "API", "runtime"))
        self.warmup_latency = Histogram("/tensorflow/serving/model_warmup_latency", ("model_path", "status"))
        self.mlmd_map = TextGauge("/tensorflow/serving/mlmd_map", ("model_name", "version"), "mlmd_uuid")
        self.example_counts = Histogram("/tensorflow/serving/request_example_counts", ("model",), SIZE_BUCKETS)
        self.example_count_total = Counter("/tensorflow/serving/request_example_count_total", ("model",))
        batching = "/tensorflow/serving/batching_session/"
        self.batch_queuing_latency = Histogram(batching + "queuing_latency", ("thread_pool_name",))
        self.batch_run_count = Counter(batching + "wrapped_run_count", ())
        self.batch_input_size = Histogram(batching + "input_batch_size", (), SIZE_BUCKETS)
        self.batch_padding_size = Histogram(batching + "padding_size", ("execution_batch_size",), SIZE_BUCKETS)
        self.batch_processed_size = Histogram(batching + "processed_batch_size", (), SIZE_BUCKETS)
        self._all: List[Any] = [
            self.request_count, self.request_latency, self.runtime_latency, self.warmup_latency, self.mlmd_map,
            self.example_counts, self.example_count_total, self.batch_queuing_latency,
            self.batch_run_count, self.batch_input_size, self.batch_padding_size, self.batch_processed_size]

    def counter_value(self, name: str) -> int:
        """First cell of the counter of that name; KeyError if there is no such counter."""
        for metric in self._all:
            if metric.name == name and isinstance(metric, Counter):
                return metric.first()
        raise KeyError(name)

    def text(self) -> str:
        """The Prometheus page: metrics that have a value, `# TYPE` before each, no HELP."""
        lines: List[str] = []
        for metric in self._all:
            body = metric.lines()
            if body:
                lines.append("# TYPE %s %s" % (exported(metric.name), metric.kind))
                lines.extend(body)
        return "".join(line + "\n" for line in lines)
