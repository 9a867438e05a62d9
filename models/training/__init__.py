"""Training of the demo models: handwritten digits, alone (`classifier`) and in scenes (`detector`)."""
import os

# Before TensorFlow is imported: its notes on the CPU would hide the progress lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
