"""Imported first by processes of tests that import much: they start as the program does."""

from portrait_lora import starting

starting.quickly()
