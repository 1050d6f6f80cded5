"""What every room may use: files written atomically, child processes, progress, cancellation, texts of messages."""
