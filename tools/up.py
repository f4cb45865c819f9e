"""`make up`: prepare the machine, run examples/hello from a real registry, say how to reach it.

Each step first looks whether it is done: a second run changes nothing and takes about a second.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request

from orlop.kit import process
from orlop.kit.errors import Denied, OrlopError, ProcessFailed, TimedOut
from tools import hello, machine

ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
EXAMPLE = "examples/hello"
URL = "http://127.0.0.1:8080/"
_ANSWER_SECONDS = 30.0
_COMMAND_SECONDS = 180.0


def main() -> int:
    try:
        _up()
    except OrlopError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _up() -> None:
    if os.geteuid() != 0:
        raise Denied("make up", "needs root: it makes namespaces and mounts", hint="run it with sudo")
    if machine.prepare():
        _say("mounted the hugetlb cgroup controller, which crun wants on this machine")
    started = hello.start()
    _say(f"registry at {hello.ADDRESS} ({'started' if started else 'already runs'})")
    hello.push()
    orlop("image", "pull", "--quiet", "--policy", "newer", hello.IMAGE)
    orlop("play", f"{EXAMPLE}/hello.yaml", "--wait", "60")
    _say(f"examples/hello answers: {_answer().strip()}")
    print(f"\nReach it:   curl {URL}\nSee it:     {ORLOP} pod list\nStop it:    make down")


def orlop(*arguments: str) -> None:
    """Run the program with the user's own streams. Raises ProcessFailed."""
    env = {**os.environ, "CONTAINERS_REGISTRIES_CONF": os.path.abspath(f"{EXAMPLE}/registries.conf")}
    child = process.spawn([ORLOP, *arguments], env=env, stdout=1, stderr=2, session=False)
    status = child.wait(_COMMAND_SECONDS)
    if status:
        command = process.printable(["orlop", *arguments])
        raise ProcessFailed(
            command, f"exit status {status}", hint="see above", argv=child.argv, status=status, stderr=""
        )


def _answer() -> str:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(URL, timeout=2) as response:
                return str(response.read(200), "utf-8", "replace")
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise TimedOut(
                    URL, f"no answer: {error}", hint=f"see: {ORLOP} pod list; {ORLOP} logs hello"
                ) from error
            time.sleep(0.05)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
