"""The job: plan, run on Ray Data, reconcile, resume. Knows nothing of how a map is computed."""

import os

# What Ray's daemons say of a worker or a node that died, in up to fifty lines on standard output: we say it in one. Ray
# looks at this when it is imported.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
