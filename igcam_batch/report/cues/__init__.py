"""What a model looks at that it should not: groups of maps that are alike, and unlike the rest, after SpRAy.

Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what machines really learn", Nat. Commun. 2019.
"""

from igcam_batch.report.cues.clusters import CLUSTERS_FILE, NothingSeenError, read_clusters, write_clusters

__all__ = ["CLUSTERS_FILE", "NothingSeenError", "read_clusters", "write_clusters"]
