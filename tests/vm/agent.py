"""Runs in the guest as a service: commands come in over a virtio port, a JSON object a line, answers go out.

In: {"argv": [...], "timeout": seconds}. Out: {"status": n, "stdout": "...", "stderr": "..."}.
"""

import io
import json
import subprocess

PORT = "/dev/virtio-ports/orlop.agent"


def main() -> None:
    with open(PORT, "rb+", buffering=0) as port:
        port.write(b'{"ready": true}\n')
        pending = b""
        while True:
            pending += port.read(65536) or b""
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                _write(port, json.dumps(_answer(json.loads(line))).encode() + b"\n")


def _write(port: io.RawIOBase, data: bytes) -> None:
    while data:
        data = data[port.write(data) or 0 :]  # the kernel takes 32 KiB at once


def _answer(request: dict) -> dict:  # type: ignore[type-arg]  # the guest's Python runs this file alone
    try:
        done = subprocess.run(request["argv"], capture_output=True, timeout=request["timeout"], check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"status": 255, "stdout": "", "stderr": str(error)}
    return {
        "status": done.returncode,
        "stdout": done.stdout.decode(errors="replace"),
        "stderr": done.stderr.decode(errors="replace"),
    }


if __name__ == "__main__":
    main()
