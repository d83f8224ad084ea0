"""The two networks, the survival model's likelihood and the model files."""
