"""Docker's health check: exit code 0 if the gateway answers, 1 with the reason on standard output.

TFLEET_HEALTH_URL is where it answers inside the container.
"""

import os
import sys
import urllib.request


def main():
    url = os.environ.get("TFLEET_HEALTH_URL", "http://127.0.0.1:8502/healthz")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=8) as answer:
            return int(answer.status != 200)
    except OSError as error:
        sys.stdout.write("%s: %s\n" % (url, error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
