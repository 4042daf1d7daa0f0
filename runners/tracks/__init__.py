"""One protocol per track."""
