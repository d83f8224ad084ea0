"""`tumorprog run` as a job: `ray job submit --working-dir . -- python jobs/run.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["run", *sys.argv[1:]]))
