"""The child of a worker on Ray that does the real work of a shard with the counting recipe of made_up."""

from __future__ import annotations

import sys
from typing import Final

CHILD: Final = (sys.executable, "-m", "tests.fleet.made_up_child")

if __name__ == "__main__":
    import os

    if os.fork():  # as `fleet.child` does
        _, status = os.wait()
        os._exit(os.waitstatus_to_exitcode(status))
    from portrait_lora import recipe
    from portrait_lora.fleet import child_work
    from tests.fleet import made_up

    recipe.run_together = made_up.run_together
    sys.exit(child_work.main())
