"""Real data that studies read, found in installed packages; nothing is downloaded."""
