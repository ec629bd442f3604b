"""The program: config, engine, training, evaluation, report, classification, command line."""
