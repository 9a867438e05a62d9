# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filters of the role serving_benchmark; see module_utils/benchmarking.py."""
from ansible_collections.tfleet.serving.plugins.module_utils import benchmarking


class FilterModule(object):
    """Each filter is the function of the same name."""

    def filters(self):
        """Return the filters by name."""
        return {name: getattr(benchmarking, name) for name in ("benchmark_items", "benchmark_entry", "benchmark_lines")}
