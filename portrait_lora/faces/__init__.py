"""Face packs (folders of ONNX models) and the faces that they detect in a picture."""

from typing import TYPE_CHECKING

from portrait_lora.faces.packs import EMBEDDED, FacePack, resolve_pack

if TYPE_CHECKING:
    from portrait_lora.faces.analyzer import FaceAnalyzer

__all__ = ["EMBEDDED", "FaceAnalyzer", "FacePack", "resolve_pack"]


def __getattr__(name: str) -> "type[FaceAnalyzer]":
    """The analyzer, imported when it is first asked for: insightface takes a second."""
    if name == "FaceAnalyzer":
        from portrait_lora.faces.analyzer import FaceAnalyzer

        return FaceAnalyzer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
