"""The words of the CRI into ours and back."""
