"""People and their logins: who somebody is, what they agreed to, and where they are logged in."""
