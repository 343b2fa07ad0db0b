"""The arithmetic of tagging, from pixels to tags: networks, classifier banks, bundles and their training."""

import os
import sys

# OpenVINO and ONNX Runtime send usage data to their vendors when they are imported, and write an id of this machine to
# the user's home. OpenVINO does neither where its package for that cannot be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
