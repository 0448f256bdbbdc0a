"""The process of one job: `python -m policyscope.studio.work STUDY`.

It reads its order, one line of JSON, from stdin, and stops when stdin ends. What it says goes to
stderr as JSON lines: how far it is, and the error it failed with.
"""

import _thread
import json
import sys
import threading

from policyscope.errors import PolicyscopeError


def stop_at_the_end_of_stdin() -> None:
    """Interrupts the work when whoever ordered it has hung up."""
    sys.stdin.read()
    _thread.interrupt_main()


def main(directory: str) -> int:
    """Does what was ordered; returns the exit code."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=stop_at_the_end_of_stdin, daemon=True).start()
    try:
        # Here, so that even this can be stopped.
        from policyscope.studies.study import Study

        study = Study.open(directory, trust=order["trust"])
        found = getattr(study, order["verb"])(**order["arguments"])
        if shortfall := getattr(found, "shortfall", ""):
            raise PolicyscopeError(shortfall)
    except PolicyscopeError as error:
        print(json.dumps({"error": str(error)}), file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
