"""What the filters of a trained run do: pictures and the numbers that a reader needs to judge them."""
