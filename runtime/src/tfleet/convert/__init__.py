"""From what people have (frozen graph, SavedModel, Keras file) to a SavedModel with declared signatures, and a look inside both.

Needs TensorFlow, imported inside the functions only (``framework.load``), never its sessions or a GPU: graphs are read, checked and written as
protocol buffers, so that a conversion beside a running server on a small device takes about twice the size of the graph in memory.
"""
