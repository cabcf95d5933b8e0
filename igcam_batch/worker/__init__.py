"""One shard in, one committed shard out. Knows nothing of the driver, nor of Ray.

`read` runs on CPUs and loads no torch; `explain` has the model.
"""
