"""Small files the program keeps: settings, journals, locks, tables of predictions."""
