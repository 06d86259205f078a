"""What learns the operators, from the most to the least free."""
