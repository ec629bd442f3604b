"""Sections of report.html, one module and one template each; a task lists those of its report.

A module has NAV, (anchor of its heading, text of the link to it) or None for no link, and
`context`, which returns the variables of its template in addition to the common ones (`m`: the
metrics; `what`; `files`), or None if there is nothing to show. The template has the module's name
and is in templates/sections, or is the string TEMPLATE of the module. The first section of a report
also has `console`, which returns what is printed.
"""
