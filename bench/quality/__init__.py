"""How good the faces are: targets, scores, a table and sheets of pictures; `make quality` runs all of it."""
