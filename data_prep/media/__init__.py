"""Probing a media file: file type, headers, packet times and tracks; PyAV is used only here."""
