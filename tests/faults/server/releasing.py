"""Version directories as a release makes them, and ways to spoil them."""

import os
import shutil


def release(source, base, number, spoil=lambda directory: None):
    """Puts a copy of a version directory under base as the version number, with one rename; spoil(directory) damages it before."""
    staging = os.path.join(str(base), ".staging-%d" % number)
    shutil.copytree(str(source), staging)
    spoil(staging)
    os.rename(staging, os.path.join(str(base), str(number)))


def config(*models):
    """Text of a model.config from (name, base_path, more)."""
    return "model_config_list { %s }" % " ".join(
        'config { name: "%s" base_path: "%s" model_platform: "tensorflow" %s }' % model for model in models)


def _data(directory):
    return os.path.join(directory, "variables", "variables.data-00000-of-00001")


def short_graph(directory):
    os.truncate(os.path.join(directory, "saved_model.pb"), 100)


def empty_graph(directory):
    os.truncate(os.path.join(directory, "saved_model.pb"), 0)


def garbage_graph(directory):
    with open(os.path.join(directory, "saved_model.pb"), "wb") as file:
        file.write(bytes(range(256)) * 40)


def no_graph(directory):
    os.unlink(os.path.join(directory, "saved_model.pb"))


def graph_is_a_directory(directory):
    no_graph(directory)
    os.mkdir(os.path.join(directory, "saved_model.pb"))


def short_variables(directory):
    os.truncate(_data(directory), 1)


def garbage_index(directory):
    with open(os.path.join(directory, "variables", "variables.index"), "r+b") as file:
        file.write(b"\xff" * 30)


def no_variables(directory):
    shutil.rmtree(os.path.join(directory, "variables"))


def read_error(directory):
    """Reading the variables answers EIO: at address 0 of the server's own memory there is nothing."""
    os.unlink(_data(directory))
    os.symlink("/proc/self/mem", _data(directory))


def unreadable_file(directory):
    os.chmod(_data(directory), 0)


def unreadable_directory(directory):
    os.chmod(directory, 0)


def dangling(directory):
    shutil.rmtree(directory)
    os.symlink("/nowhere", directory)


def plain_file(directory):
    shutil.rmtree(directory)
    with open(directory, "w") as file:
        file.write("no directory")


WAYS = (short_graph, empty_graph, garbage_graph, no_graph, graph_is_a_directory, short_variables, garbage_index, no_variables, read_error, unreadable_file,
        unreadable_directory, dangling, plain_file)
