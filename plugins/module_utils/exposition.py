# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Prometheus' text format: what the textfile collector of its node exporter reads."""
import re
from collections import OrderedDict

_UNFIT = re.compile(r"[\x00-\x1f]")


class Page(object):
    """Samples by the metric that they belong to; one that is told twice is told once, with the greater value."""

    def __init__(self):
        self._families = OrderedDict()

    def add(self, name, form, what, value, **labels):
        """Add a sample, unless its value is None.

        :param form: gauge or counter.
        :param what: the metric in one sentence.
        """
        if value is None:
            return
        samples = self._families.setdefault(name, (form, what, {}))[2]
        key = tuple(sorted((label, str(text)) for label, text in labels.items() if text is not None))
        samples[key] = max(value, samples.get(key, value))

    def text(self):
        """Return the page."""
        lines = []
        for name, (form, what, samples) in self._families.items():
            lines += ["# HELP %s %s" % (name, what), "# TYPE %s %s" % (name, form)]
            for labels, value in sorted(samples.items()):
                pairs = ",".join('%s="%s"' % (label, _escaped(text)) for label, text in labels)
                lines.append("%s%s %s" % (name, "{%s}" % pairs if pairs else "", repr(float(value)) if isinstance(value, float) else int(value)))
        return "".join(line + "\n" for line in lines)


def _escaped(text):
    return _UNFIT.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
