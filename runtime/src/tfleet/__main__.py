"""`python -m tfleet` is the command `tfleet`."""

import sys

from tfleet.cli import main

sys.exit(main())
