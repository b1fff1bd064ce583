"""The web pages, drawn on the same API: the operators' console and the analysts' page.

``pages`` has the frame that everybody may load, ``parts`` what the server draws into it for those
who have ``ops:read``, ``trends`` what lines are drawn of, ``writing`` how values are written down.
``analysts`` has the page whose scripts draw charts of ``/v1/analytics``.
"""
