"""What people read: figures, the document, the archive of a study."""
