"""Stages of `scripts/train_face_pack.py`: detector, landmarks, two embedders, and the pack they make."""
