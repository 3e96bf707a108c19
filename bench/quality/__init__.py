"""Quality of the faces: targets, scores, a table and sheets of pictures. `make quality` runs everything."""
