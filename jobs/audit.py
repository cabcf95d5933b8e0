"""`igcam-batch audit` as a job: `ray job submit --working-dir . -- python jobs/audit.py INPUT OUTPUT ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the working directory that was submitted

from igcam_batch.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "audit")
    main()
