"""What TF-TRT would take of a model, told without a GPU and without TensorRT: an estimate by TensorFlow's own segmenter.

TensorFlow asks libnvinfer for little more than its version before it cuts a graph into segments, so a library of ours in its place
(`stand_in.cc`, compiled where it is needed) is enough. It runs in a child process, builds nothing and runs nothing.
"""
