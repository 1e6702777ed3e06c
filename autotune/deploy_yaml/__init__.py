"""``deploy.yaml``: its documents, and how it is written and read."""

from autotune.deploy_yaml.document import (
    ArtifactRecord,
    AudioRecord,
    BaselineRecord,
    CerRecord,
    DeploymentFile,
    GoalRecord,
    HardwareRecord,
    IntervalRecord,
    LatencyRecord,
    MeasurementRecord,
    NewShapesRecord,
    OtherBaselineRecord,
    ProvenanceRecord,
    RateRecord,
)
from autotune.deploy_yaml.files import (
    read_deployment_file,
    schema_text,
    write_deployment_file,
    yaml_text,
)

__all__ = [
    "ArtifactRecord",
    "AudioRecord",
    "BaselineRecord",
    "CerRecord",
    "DeploymentFile",
    "GoalRecord",
    "HardwareRecord",
    "IntervalRecord",
    "LatencyRecord",
    "MeasurementRecord",
    "NewShapesRecord",
    "OtherBaselineRecord",
    "ProvenanceRecord",
    "RateRecord",
    "read_deployment_file",
    "schema_text",
    "write_deployment_file",
    "yaml_text",
]
