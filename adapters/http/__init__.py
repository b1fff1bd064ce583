"""Every convention of the HTTP contract, shared by the write and the read API.

``conventions`` is the outermost layer and does what concerns all requests; the other modules are
called by handlers. Nothing here knows a context, a database or a setting.
"""
