"""`tumorprog report` as a job: `ray job submit --working-dir . -- python jobs/report.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["report", *sys.argv[1:]]))
