"""`igcam-batch audit` as a job: `ray job submit --working-dir . -- python jobs/audit.py INPUT OUTPUT ...`."""

import sys

from package import find_package

find_package()

from igcam_batch.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "audit")
    main()
