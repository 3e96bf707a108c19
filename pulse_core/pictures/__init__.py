"""Pictures: reading and writing files, contact sheets, heat maps of where solutions differ."""
