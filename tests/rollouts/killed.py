"""Records until it is killed by itself: `python killed.py DIRECTORY ACTED`, run by test_record."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from policyscope.address import Site
from policyscope.rollouts import record
from policyscope.testing.planted import CountingEnvironment, counting_agent


class Killed(CountingEnvironment):
    """Kills this process after so many steps."""

    def step(self, action: Any) -> Any:
        if self.acted >= int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


record.SHARD_ROWS = 12
record.record_rollout(
    counting_agent(), Killed, Path(sys.argv[1]), sites=[Site.parse("fc2:in")], rows=3, steps=200
)
