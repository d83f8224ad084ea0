"""`tumorprog tune` as a job: `ray job submit --working-dir . -- python jobs/tune.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["tune", *sys.argv[1:]]))
