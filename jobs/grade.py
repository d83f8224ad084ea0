"""`tumorprog grade` as a job: `ray job submit --working-dir . -- python jobs/grade.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["grade", *sys.argv[1:]]))
