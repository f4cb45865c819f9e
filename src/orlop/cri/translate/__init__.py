"""Messages of the CRI into the values of `pod`, and back; nothing here acts."""
