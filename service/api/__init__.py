"""The faces: each translates one API into jobs for the core, and answers back."""
