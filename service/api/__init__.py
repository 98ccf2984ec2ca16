"""The faces: each translates one API into jobs for the queue, and answers back."""
