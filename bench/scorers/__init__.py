"""What a picture is worth: `niqe` and `realism` judge it alone, `identity` compares it with another."""
