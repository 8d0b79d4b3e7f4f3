"""Stages of `scripts.train.face_pack`: detector, landmarks, two embedders, and the pack they make."""
