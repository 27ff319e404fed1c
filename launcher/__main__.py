"""python -m launcher COMMAND: what ./dev becomes once .venv is there."""

import importlib
import sys

from launcher.system import LauncherError


def main() -> int:
    """Run one command and return its exit code."""
    command, *arguments = sys.argv[1:]
    module = importlib.import_module(f"launcher.commands.{command}")
    try:
        return int(module.main(arguments))
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
