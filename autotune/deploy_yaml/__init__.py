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
    PredictedRecord,
    ProvenanceRecord,
    RateRecord,
)
from autotune.deploy_yaml.files import (
    read_deployment_file,
    schema_text,
    write_deployment_file,
    yaml_text,
)
from autotune.deploy_yaml.memory import HEADROOM_PERCENT, MIB, SERVER_MIB, ReplicaMemory, replica_memory

__all__ = [
    "HEADROOM_PERCENT",
    "MIB",
    "SERVER_MIB",
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
    "PredictedRecord",
    "ProvenanceRecord",
    "RateRecord",
    "ReplicaMemory",
    "read_deployment_file",
    "replica_memory",
    "schema_text",
    "write_deployment_file",
    "yaml_text",
]
