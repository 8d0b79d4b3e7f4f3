"""The process that does one shard for a worker: `python -m portrait_lora.fleet.child`.

Its standard input brings the order, a line of JSON; a byte after it asks to stop, and the end of the pipe
says that the worker is gone.  Either way it stops as on Ctrl-C, within a step and with its state saved.  Its
standard output takes lines of JSON: what happens, and in the end how it ended.

It is the child of a process that only waits for it: cluster software that ends a worker together with its
children at once ends that one, and this one has time to save its state.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Wait for a child of this process that does the work, and end as it does."""
    child = os.fork()
    if child:
        os.close(0)
        os.close(1)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    from portrait_lora import starting

    starting.quickly()
    from portrait_lora.fleet import child_work  # heavy, and of no use to the one that waits

    sys.exit(child_work.main())


if __name__ == "__main__":
    main()
