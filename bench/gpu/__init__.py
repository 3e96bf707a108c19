"""What a card says of the search (`make gpu`), and what it could do at best (`python -m bench.speed --roofline`)."""
