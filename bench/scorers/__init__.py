"""Image quality: `niqe` and `realism` need no reference, `identity` compares two faces."""
