"""Built-in metrics, endings and events, one file per family of environments."""

from policyscope.envs.metrics import classic as classic
