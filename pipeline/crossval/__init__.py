"""crossval: every clip predicted by networks that did not train on it, then a model of all."""
