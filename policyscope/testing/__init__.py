"""Public contracts: what an implementation of each noun must satisfy."""
