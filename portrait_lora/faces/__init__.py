"""Face packs (folders of ONNX models) and the faces that they detect in a picture."""

from portrait_lora.faces.analyzer import FaceAnalyzer
from portrait_lora.faces.packs import EMBEDDED, FacePack, resolve_pack

__all__ = ["EMBEDDED", "FaceAnalyzer", "FacePack", "resolve_pack"]
