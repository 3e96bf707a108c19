"""What a picture is worth: `niqe` judges it alone, `identity` compares it with another."""
