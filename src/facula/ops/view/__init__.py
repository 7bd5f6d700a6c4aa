"""Operations whose result shares its elements with their argument."""
