"""`tumorprog catalogue` as a job: `ray job submit --working-dir . -- python jobs/catalogue.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["catalogue", *sys.argv[1:]]))
