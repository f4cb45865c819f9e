"""What is kept of Kubernetes' objects is read by many threads (orlop pod stop A B reads it in each)."""

from __future__ import annotations

import subprocess
import sys

_READERS = """
import sys, threading
from orlop.system.kube.model import Pod
from orlop.system.kube.wire import from_json
sys.setswitchinterval(1e-6)
text = b'{"metadata":{"name":"web"},"spec":{"containers":[{"name":"a","image":"b"}]}}'
gate, read = threading.Barrier(4), []
def one():
    gate.wait()
    read.append(from_json(text, Pod).metadata.name)
threads = [threading.Thread(target=one) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert read == ["web"] * 4, read
"""


def test_threads_that_read_the_same_kind_for_the_first_time_do_not_end_the_process() -> None:
    for _ in range(8):
        done = subprocess.run([sys.executable, "-c", _READERS], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
