#!/usr/bin/env python3
"""Train the demo models from scratch and write their releases.

    python models/train.py                      both models, about ten minutes of one core
    python models/train.py --model digits       the classifier only
    python models/train.py --quick --out /tmp/x a few steps, to see that everything works

Needs models/requirements.txt. Seeds are fixed.
"""
import argparse
import sys
from pathlib import Path

from training import classifier, detector, net

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("all", "digits", "digits_detector"), default="all")
    parser.add_argument("--out", type=Path, default=HERE, help="where the releases go (default: beside this script)")
    parser.add_argument("--quick", action="store_true", help="train a few steps only; needs --out elsewhere")
    parser.add_argument("--threads", type=int, default=1, help="how many cores TensorFlow may use (default: 1)")
    options = parser.parse_args()
    if options.quick and options.out.resolve() == HERE:
        parser.error("--quick makes models that know nothing: give --out another directory than %s" % HERE)

    net.configure(options.threads)

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        if options.model in ("all", "digits"):
            classifier.release(options.out, options.quick, say)
        if options.model in ("all", "digits_detector"):
            detector.release(options.out, options.quick, say)
    except ValueError as error:
        print("train.py: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
