"""Records to event files and back.

`writer` is for writing (it loads torch), `reader` for reading; `places` and `remote` say where files may lie.
"""
