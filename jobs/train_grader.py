"""`tumorprog train-grader` as a job: `ray job submit --working-dir . -- python jobs/train_grader.py ...`."""

import sys

from tumorprog.cli import main

sys.exit(main(["train-grader", *sys.argv[1:]]))
