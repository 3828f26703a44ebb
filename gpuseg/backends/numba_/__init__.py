"""The CPU in earnest: one compiled kernel a file, all without the interpreter lock."""
