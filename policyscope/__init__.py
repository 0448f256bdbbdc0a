"""policyscope: look inside trained agents, change what they think, measure what they do.

The public names; each is imported when it is first used, so that `import policyscope` is quick.
"""

import importlib
import os
from typing import Any

# Threads that wait for work must not spin. On a busy machine of two cores that alone made scripts
# six to fifteen times slower. It has to be said before torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PUBLIC = {
    "Agent": "policyscope.agents.agent",
    "Dictionary": "policyscope.dictionaries.dictionary",
    "Episode": "policyscope.recordings.episode",
    "Feature": "policyscope.dictionaries.feature",
    "FeatureAddress": "policyscope.address",
    "Frames": "policyscope.recordings.frames",
    "Hooks": "policyscope.agents.hooks",
    "Intervention": "policyscope.interventions.intervention",
    "LanguageModel": "policyscope.chat",
    "Metric": "policyscope.envs.metric",
    "Moment": "policyscope.address",
    "PolicyscopeError": "policyscope.errors",
    "ReLU": "policyscope.dictionaries.relu",
    "Recording": "policyscope.recordings.recording",
    "Site": "policyscope.address",
    "Step": "policyscope.envs.metric",
    "Study": "policyscope.studies.study",
    "TorchAgent": "policyscope.agents.adapters.torch",
    "UnitAddress": "policyscope.address",
    "Words": "policyscope.envs.metric",
    "ablate": "policyscope.interventions.ablate",
    "clamp": "policyscope.interventions.clamp",
    "compare": "policyscope.experiments.compare",
    "describe": "policyscope.features.describe",
    "ending": "policyscope.envs.ending",
    "evaluate": "policyscope.experiments.compare",
    "event": "policyscope.envs.event",
    "find_nudge": "policyscope.experiments.push",
    "fit": "policyscope.dictionaries.fit",
    "fit_family": "policyscope.dictionaries.family",
    "inspect": "policyscope.studies.inspection",
    "label": "policyscope.features.labelling",
    "make": "policyscope.envs.make",
    "metric": "policyscope.envs.metric",
    "open_agent": "policyscope.agents.loading",
    "patch": "policyscope.interventions.patch",
    "record_frames": "policyscope.rollouts.replay",
    "record_rollout": "policyscope.rollouts.record",
    "rollout": "policyscope.rollouts.rollout",
    "save_agent": "policyscope.agents.agent_file",
    "scale": "policyscope.interventions.scale",
    "score": "policyscope.scores.score",
    "show": "policyscope.studio.notebook",
    "splice": "policyscope.interventions.splice",
    "steer": "policyscope.interventions.steer",
    "sweep": "policyscope.experiments.sweep",
    "write_report": "policyscope.studies.report",
}

__all__ = sorted(PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'policyscope' has no attribute {name!r}")
    value = getattr(importlib.import_module(PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
