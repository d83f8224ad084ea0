"""`tumorprog features` as a job: `ray job submit --working-dir . -- python jobs/features.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["features", *sys.argv[1:]]))
