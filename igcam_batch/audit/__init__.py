"""The job: plan, run on Ray Data, reconcile, resume. Knows nothing of how a map is computed."""
