"""All metadata is in setup.cfg: the pip of Python 3.6 reads no [project] table."""

from setuptools import setup

setup()
