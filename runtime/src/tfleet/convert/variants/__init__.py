"""The same SavedModel built for one kind of hardware: TF-TRT, TensorFlow Lite, or frozen and folded by Grappler.

`build.convert` runs in the caller's process and never imports TensorFlow: it checks, keeps the time and the memory, starts `worker` as
a child, and publishes what that wrote. So TensorRT, which may abort a process, and TensorFlow, whose memory never comes back, are in
a process that is allowed to die.
"""
