"""`tumorprog train-progression` as a job: `ray job submit --working-dir . -- python jobs/train_progression.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["train-progression", *sys.argv[1:]]))
