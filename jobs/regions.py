"""`tumorprog regions` as a job of a Ray cluster; `runtime_env.yaml` shows how to submit it."""

import sys

from tumorprog.cli import main

sys.exit(main(["regions", *sys.argv[1:]]))
