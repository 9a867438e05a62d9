"""Pictures in a folder for each class, as classifiers are trained from them."""

import os
from typing import Dict, List, Optional, Tuple

from tfleet.examples.features import Example
from tfleet.examples.labelled import Collected, Problem, labelled, numbers_of, pictures_below


def is_source(source: str) -> bool:
    """Whether this is a folder that holds pictures, in itself or in its folders."""
    return os.path.isdir(source) and bool(pictures_below(source))


def collect(source: str, images: Optional[str], label_map: Optional[Dict[int, str]]) -> Collected:
    """All pictures below ``source``; the first folder names the class, numbered by the label map, else from 0 in the order of the names."""
    root = images or source
    problems: List[Problem] = []
    examples: List[Tuple[Optional[str], Example]] = []
    found = pictures_below(root)
    numbers = numbers_of(sorted({path.split(os.sep)[0] for path in found if os.sep in path}), label_map, 0)
    for path in found:
        text, apart, _rest = path.partition(os.sep)
        if not apart:
            problems.append(Problem("missing_label", path, "it lies in no folder that names its class"))
        elif text not in numbers:
            problems.append(Problem("unknown_label", path, "its class %s is not in the label map" % text))
        else:
            examples.append((os.path.join(root, path), labelled(path, label=numbers[text], text=text)))
    return Collected("folders", examples, {number: name for name, number in numbers.items()}, problems)
