"""`tumorprog slices` as a job: `ray job submit --working-dir . -- python jobs/slices.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["slices", *sys.argv[1:]]))
