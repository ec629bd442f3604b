"""Sections of report.html, one module and one template each; a task names those of its page.

A module has NAV, the anchor of its heading and the words of the link to it (None: no link), and
`context`, the variables of its template beside the common ones (`m`: the metrics; `what`; `files`),
or None where there is nothing to show. Its template has its name and lies in templates/sections, or
is the text TEMPLATE of the module. The first section of a page also has `console`, what is printed.
"""
