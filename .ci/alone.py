"""Run a command while no other of these runs in this checkout: ``python .ci/alone.py make …``.

Owns a lock on the Makefile, which ends with the command however that ends. Two who make the same
environment at once would spoil it for each other; the second finds it made.
"""

import fcntl
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Wait for the lock, run the command, and end as it does."""
    with Path(__file__).parent.with_name("Makefile").open(encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("Another make is at the environment; waiting for it\n")
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
