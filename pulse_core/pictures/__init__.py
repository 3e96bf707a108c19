"""Pictures: files in and out, contact sheets, maps of where solutions differ."""
