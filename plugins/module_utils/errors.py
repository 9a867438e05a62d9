# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The exception that module logic raises and that only a module's ``main()`` turns into ``fail_json``."""


class ModuleError(Exception):
    """What failed, where, and the next step, as full sentences.

    :param message: text for a person.
    :param result: keys that become part of the module's result next to ``msg``.
    """

    def __init__(self, message, **result):
        super().__init__(message)
        self.result = result
