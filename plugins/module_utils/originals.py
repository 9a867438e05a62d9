# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How a host was before tfleet changed it, so that it can be put back: one small JSON file for each thing, written once."""
import json
import os

from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, fsync_path, make_directories, write_atomically
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

DIRECTORY = "/var/lib/tfleet/originals"


class Original:
    """The record of one thing, such as ``zram`` or ``nvpmodel``.

    :param directory: where records are; made when the first one is written.
    :param name: becomes the file's name; slashes of a path are written as dashes.
    """

    def __init__(self, directory, name):
        self.path = os.path.join(directory, name.strip("/").replace("/", "-") + ".json")

    def read(self):
        """Return what was recorded, or None.

        :raises ModuleError: the file cannot be understood.
        """
        try:
            with open(self.path, "rb") as stream:
                return json.loads(stream.read().decode("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ModuleError("%s, the record of how this host was before, cannot be read: %s. Remove it if nothing shall be put back, and run "
                              "again." % (self.path, error)) from error

    def keep(self, value):
        """Record ``value`` unless there is a record: what a second run finds is tfleet's own work."""
        if self.read() is None:
            make_directories(os.path.dirname(self.path))
            write_atomically(self.path, canonical_json(value))

    def forget(self):
        """Remove the record: the host is as it was."""
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        fsync_path(os.path.dirname(self.path))
