"""Operations that read or write by index, by mask, by segments."""
