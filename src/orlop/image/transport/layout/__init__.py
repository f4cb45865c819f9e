"""What the transports in files share: files in a folder or an archive, bytes checked, staging."""
