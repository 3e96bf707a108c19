"""How fast the search is: `make bench`."""
