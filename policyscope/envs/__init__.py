"""Environments in rows, and the metrics, endings and events read from them."""

from policyscope.envs import metrics as metrics
