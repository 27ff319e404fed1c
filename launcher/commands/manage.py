"""./dev manage: a manage.py command against the servers of a running ./dev up, or its own."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from launcher.instance import Instance, data_folder


def main(arguments: Sequence[str]) -> int:
    """Run `manage.py *arguments` and return its exit code.

    Where nothing runs yet, the servers are started for the duration, and kept until other
    commands that have joined meanwhile have ended too.
    """
    instance = Instance(data_folder())
    with ExitStack() as stack:
        own = os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")
        found = {} if own else instance.join()
        if found is None:
            stack.enter_context(instance.servers(os.environ))
            instance.settle(os.environ)
            stack.callback(instance.wait_for_guests)
            stack.callback(instance.withdraw)
            instance.announce(os.environ)
        else:
            os.environ.update({k: v for k, v in found.items() if not os.environ.get(k)})
            instance.settle(os.environ)
        return subprocess.run([sys.executable, "manage.py", *arguments], check=False).returncode
