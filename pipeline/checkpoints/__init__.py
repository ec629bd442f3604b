"""Trained models on disk: model.json and model.safetensors."""
