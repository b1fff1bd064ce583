"""The operators' console: web pages on the same API, drawn on the server.

``pages`` has the frame that everybody may load, ``parts`` what the server draws into it for those
who have ``ops:read``, ``trends`` what lines are drawn of, ``writing`` how values are written down.
"""
