"""Tasks that fail alone, and trees that start again what failed: OTP's ways, on anyio."""
