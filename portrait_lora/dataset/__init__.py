"""From a folder of photos to a training set: safe decoding, findings, curation, crops, captions."""
