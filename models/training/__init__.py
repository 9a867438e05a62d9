"""Training of the demo models: handwritten digits, alone (`classifier`) and in scenes (`detector`)."""
