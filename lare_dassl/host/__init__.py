"""The host: the installed Dassl, or the stand-in in `builtin/`; `door` gives the names of whichever it is."""
