"""Settings of every test: examples that are the same on every run, and one thread."""

import torch
from hypothesis import settings

# No deadline: time is what benchmarks measure, and a shared machine has none to promise.
settings.register_profile("policyscope", deadline=None, derandomize=True)
settings.load_profile("policyscope")

torch.set_num_threads(1)
