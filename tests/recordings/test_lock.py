import subprocess
import sys
from pathlib import Path

import pytest

from policyscope.errors import InUse
from policyscope.recordings.lock import WriterLock

HOLDER = """
import sys
from pathlib import Path
from policyscope.recordings.lock import WriterLock
lock = WriterLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_lock_in_this_process_is_refused_until_release(tmp_path: Path):
    lock = WriterLock(tmp_path)
    with pytest.raises(InUse, match="is being written by process"):
        WriterLock(tmp_path)
    lock.release()
    WriterLock(tmp_path).release()


def test_a_lock_names_its_process_and_dies_with_it(tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(InUse, match=f"process {holder.pid}"):
            WriterLock(tmp_path)
        holder.kill()
        holder.wait()
    WriterLock(tmp_path).release()
