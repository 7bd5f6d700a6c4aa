"""Operations that are one scalar formula, and what such operations stand on."""
