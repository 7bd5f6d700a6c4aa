"""`python -m torch.distributed.run`, `torchrun`, `facula launch`: start a program as several ranks.

Each worker finds in its environment RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK, GROUP_WORLD_SIZE,
ROLE_RANK, ROLE_WORLD_SIZE, ROLE_NAME, MASTER_ADDR, MASTER_PORT and TORCHELASTIC_RESTART_COUNT, _MAX_RESTARTS, _RUN_ID,
_USE_AGENT_STORE, _ERROR_FILE, as torchrun's do. One worker's failure ends all; with --max-restarts they are started
anew.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from facula.distributed.constants import DistError
from facula.distributed.elastic.multiprocessing.errors import ChildFailedError
from facula.distributed.launcher.agent import SignalException, launch
from facula.distributed.launcher.options import parsed


def main(args: Sequence[str] | None = None) -> int:
    """Launch what the command line says. The exit status: 0, 1 if workers have failed, 128 + n after a signal n."""
    options = parsed(args)
    try:
        launch(options)
    except ChildFailedError as error:
        print(f"facula launch: {error}", file=sys.stderr)
        return 1
    except SignalException as error:
        print(f"facula launch: {error}", file=sys.stderr)
        return 128 + error.sigval
    except DistError as error:
        print(f"facula launch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
