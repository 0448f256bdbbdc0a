"""A recording in a few rows: what it holds, and how its episodes went."""

from collections import Counter
from typing import Any

import numpy as np

from policyscope.recordings.recording import Recording
from policyscope.table import Column, Table


def recording_to_json(recording: Recording) -> dict[str, Any]:
    """The document of `record --json`."""
    episodes = recording.episodes
    returns = [episode.total_reward for episode in episodes]
    return {
        "name": recording.name,
        "directory": str(recording.directory),
        "steps": recording.steps,
        "episodes": len(episodes),
        "rows": recording.header.rows,
        "shards": len(recording.shards),
        "bytes": sum(path.stat().st_size for path in recording.directory.glob("shards/*")),
        "return_mean": float(np.mean(returns)) if returns else None,
        "endings": dict(Counter(episode.ending for episode in episodes).most_common()),
        "columns": [
            {
                "name": c.name,
                "kind": c.kind,
                "dtype": c.dtype,
                "shape": list(c.shape),
                "unit": c.unit,
            }
            for c in recording.header.columns
        ],
    }


def recording_table(recording: Recording) -> Table:
    """One row per column."""
    facts = recording_to_json(recording)
    columns = tuple(
        Column(name, side="left") for name in ("column", "kind", "type", "shape", "unit")
    )
    rows = tuple(
        (c["name"], c["kind"], c["dtype"], "×".join(map(str, c["shape"])) or "1", c["unit"])
        for c in facts["columns"]
    )
    endings = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in facts["endings"].items())
    mean = "–" if facts["return_mean"] is None else f"{facts['return_mean']:.1f}"
    note = (
        f"{facts['steps']:,} steps, {facts['episodes']:,} whole episodes (mean return {mean}; "
        f"{endings or 'none ended'}), {facts['bytes'] / 1e6:.1f} MB in {facts['shards']} shards."
    )
    return Table(f"Recording {recording.name}", columns, rows, note)
