"""portrait_lora: photos of one person in, measured portraits out."""

__version__ = "0.1.0"
