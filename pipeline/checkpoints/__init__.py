"""A trained run on disk: model.json and model.safetensors."""
