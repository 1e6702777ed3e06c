"""``deploy.yaml``: its documents, and how it is written and read."""

from autotune.deploy_yaml.comments import COMMENTS
from autotune.deploy_yaml.document import (
    SCHEMA,
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
    StageName,
)
from autotune.deploy_yaml.files import (
    read_deployment_file,
    schema_text,
    write_deployment_file,
    yaml_text,
)

__all__ = [
    "COMMENTS",
    "SCHEMA",
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
    "StageName",
    "read_deployment_file",
    "schema_text",
    "write_deployment_file",
    "yaml_text",
]
