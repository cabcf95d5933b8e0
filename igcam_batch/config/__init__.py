"""Every setting of an audit, declared and validated once.

The command line, the YAML file and the worker all read the same `AuditConfig`, whose defaults are an audit's.
"""

from igcam_batch.config.audit import MODELS, AuditConfig, flag_details
from igcam_batch.config.baseline import BaselineImage
from igcam_batch.config.files import read_from_disk
from igcam_batch.config.load import load_config
from igcam_batch.config.target import Target

__all__ = ["MODELS", "AuditConfig", "BaselineImage", "Target", "flag_details", "load_config", "read_from_disk"]
