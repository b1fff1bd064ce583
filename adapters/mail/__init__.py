"""Mail: letters as messages, to a server or to a folder. ``commands.mail.Mailer`` is the port."""
