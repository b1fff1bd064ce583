"""Object stores: a folder and S3 behind ``commands.journal_attachments.Objects``."""
